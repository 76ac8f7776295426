// Command argocd is what a test needs of Argo CD in one program: its application controller and its repo server, each a
// subcommand that takes that component's own flags, and a Redis for the two to share.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	repository "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/util/log"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

func main() {
	klog.SetLogger(log.NewLogrusLogger(log.NewWithCurrentConfig()))
	root := &cobra.Command{Use: "argocd", SilenceUsage: true}
	root.AddCommand(controller.NewCommand(), repository.NewCommand(), redis())
	if root.Execute() != nil {
		os.Exit(1)
	}
}

// redis keeps everything in memory, on an address given as its one argument.
func redis() *cobra.Command {
	return &cobra.Command{
		Use:  "redis ADDR:PORT",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			server := miniredis.NewMiniRedis()
			if err := server.StartAddr(args[0]); err != nil {
				return err
			}
			fmt.Println("listening on", server.Addr())
			// Its clock stands still by itself, and what Argo CD caches would never expire.
			for range time.Tick(time.Second) {
				server.FastForward(time.Second)
			}
			return nil
		},
	}
}
