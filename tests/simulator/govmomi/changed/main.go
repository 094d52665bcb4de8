// changed asks for the changed areas of one disk, window after window, and prints them as JSON.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"net/url"
	"os"
	"strconv"

	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

type answer struct {
	ChangeID string     `json:"changeId"`
	Capacity int64      `json:"capacity"`
	Windows  int        `json:"windows"`
	Areas    [][2]int64 `json:"areas"`
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func connect(ctx context.Context) *vim25.Client {
	address, err := soap.ParseURL(os.Getenv("GOVC_URL"))
	must(err)
	transport := soap.NewClient(address, false)
	authority, err := os.ReadFile(os.Getenv("GOVC_TLS_CA_CERTS"))
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	transport.DefaultTransport().TLSClientConfig = &tls.Config{RootCAs: pool}
	client, err := vim25.NewClient(ctx, transport)
	must(err)
	user := url.UserPassword(os.Getenv("GOVC_USERNAME"), os.Getenv("GOVC_PASSWORD"))
	must(session.NewManager(client).Login(ctx, user))
	return client
}

// disk reads the change id and capacity of a disk as a snapshot has it.
func disk(ctx context.Context, client *vim25.Client, snapshot types.ManagedObjectReference, key int32) (string, int64) {
	var taken mo.VirtualMachineSnapshot
	must(mo.RetrieveProperties(ctx, client, client.ServiceContent.PropertyCollector, snapshot, &taken))
	for _, device := range taken.Config.Hardware.Device {
		if found, ok := device.(*types.VirtualDisk); ok && found.Key == key {
			return found.Backing.(*types.VirtualDiskFlatVer2BackingInfo).ChangeId, found.CapacityInBytes
		}
	}
	log.Fatalf("no disk %d in %s", key, snapshot.Value)
	return "", 0
}

// Arguments: machine, snapshot, device key, change id.
func main() {
	ctx := context.Background()
	client := connect(ctx)
	defer session.NewManager(client).Logout(ctx)
	machine := types.ManagedObjectReference{Type: "VirtualMachine", Value: os.Args[1]}
	snapshot := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: os.Args[2]}
	key, err := strconv.ParseInt(os.Args[3], 10, 32)
	must(err)
	told := answer{Areas: [][2]int64{}}
	told.ChangeID, told.Capacity = disk(ctx, client, snapshot, int32(key))
	for position := int64(0); position < told.Capacity; told.Windows++ {
		response, err := methods.QueryChangedDiskAreas(ctx, client, &types.QueryChangedDiskAreas{
			This: machine, Snapshot: &snapshot, DeviceKey: int32(key), StartOffset: position, ChangeId: os.Args[4],
		})
		must(err)
		window := response.Returnval
		if window.StartOffset != position || window.Length <= 0 {
			log.Fatalf("asked from %d, got [%d, +%d)", position, window.StartOffset, window.Length)
		}
		for _, area := range window.ChangedArea {
			told.Areas = append(told.Areas, [2]int64{area.Start, area.Length})
		}
		position += window.Length
	}
	must(json.NewEncoder(os.Stdout).Encode(told))
}
