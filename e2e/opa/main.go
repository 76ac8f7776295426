// Command opa-judge evaluates Rego with Open Policy Agent itself, so that Gatepost's answers and its speed can be
// compared with it. Without a subcommand it answers JSON lines on stdin; `serve` is an admission webhook.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "opa-judge:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx, args[1:])
	}
	if len(args) > 0 {
		return fmt.Errorf("unknown subcommand %q: give none, or serve", args[0])
	}
	return judgeLines(ctx, os.Stdin, os.Stdout)
}
