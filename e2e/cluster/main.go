// Command cluster is a Kubernetes control plane for tests in one program: etcd, kube-apiserver,
// kube-controller-manager and kubectl, each a subcommand that takes that component's own flags.
package main

import (
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	component := ""
	if len(os.Args) > 1 {
		component = os.Args[1]
	}
	switch component {
	case "etcd":
		etcdmain.Main(append([]string{"etcd"}, os.Args[2:]...))
	case "kubectl":
		os.Args = os.Args[1:]
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	default:
		root := &cobra.Command{Use: "cluster"}
		root.AddCommand(apiserver.NewAPIServerCommand(), controllers.NewControllerManagerCommand())
		os.Exit(cli.Run(root))
	}
}
