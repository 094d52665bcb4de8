// inventory fetches the properties named as arguments of every machine, as any program with govmomi would.
package main

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
)

func main() {
	ctx := context.Background()
	address, err := soap.ParseURL(os.Getenv("GOVC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	address.User = url.UserPassword(os.Getenv("GOVC_USERNAME"), os.Getenv("GOVC_PASSWORD"))
	client, err := govmomi.NewClient(ctx, address, true)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Logout(ctx)
	manager := view.NewManager(client.Client)
	machines, err := manager.CreateContainerView(ctx, client.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		log.Fatal(err)
	}
	var found []mo.VirtualMachine
	if err := machines.Retrieve(ctx, []string{"VirtualMachine"}, os.Args[1:], &found); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(found))
}
