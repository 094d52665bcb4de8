// Command smc-goclient calls one operation through the official Go SDK, on which the aliyun command line is built:
//
//	smc-goclient smc OPERATION --endpoint HOST:PORT [--Parameter value]...
//
// The access key comes from ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, trust from SSL_CERT_FILE.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
)

func main() {
	answer, err := call(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:", err)
		os.Exit(1)
	}
	fmt.Println(answer)
}

func call(words []string) (string, error) {
	if len(words) < 2 || len(words)%2 != 0 || words[0] != "smc" {
		return "", fmt.Errorf("usage: smc-goclient smc OPERATION --endpoint HOST:PORT [--Parameter value]...")
	}
	request := requests.NewCommonRequest()
	request.Product, request.Version, request.ApiName = "smc", "2019-06-01", words[1]
	request.Scheme, request.Method, request.RegionId = "https", "POST", "cn-hangzhou"
	for at := 2; at < len(words); at += 2 {
		switch name := strings.TrimPrefix(words[at], "--"); name {
		case "endpoint":
			request.Domain = words[at+1]
		case "method":
			request.Method = words[at+1]
		case "region":
			request.RegionId = words[at+1]
		default:
			request.QueryParams[name] = words[at+1]
		}
	}
	client, err := sdk.NewClientWithAccessKey(
		request.RegionId, os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID"), os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET"))
	if err != nil {
		return "", err
	}
	response, err := client.ProcessCommonRequest(request)
	if err != nil {
		return "", err
	}
	return response.GetHttpContentString(), nil
}
