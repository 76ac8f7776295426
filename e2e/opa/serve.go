package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/util"
)

// A bundle is the file that serve reads: the modules, and the rules whose violations it asks for.
type bundle struct {
	Modules map[string]string `json:"modules"`
	Queries []string          `json:"queries"`
}

// A request is the input that Gatepost derives from an AdmissionReview, and the review's uid.
type request struct {
	UID   string `json:"uid"`
	Input any    `json:"input"`
}

type review struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Response   response `json:"response"`
}

type response struct {
	UID      string   `json:"uid"`
	Allowed  bool     `json:"allowed"`
	Warnings []string `json:"warnings,omitempty"`
}

// A webhook judges with one query, prepared once, that gathers every rule's violations as an object.
type webhook struct {
	query rego.PreparedEvalQuery
	log   *slog.Logger
}

const shutdownLimit = 5 * time.Second

func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:0", "address to listen on; port 0 picks one")
	cert := flags.String("cert", "", "PEM file of the certificate chain")
	key := flags.String("key", "", "PEM file of the private key")
	file := flags.String("bundle", "", `JSON file {"modules": {name: source}, "queries": ["data.….violation"]}`)
	if err := flags.Parse(args); err != nil {
		return err
	}
	hook, err := load(ctx, *file)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	out := &flushed{writer: bufio.NewWriterSize(os.Stdout, 64<<10)}
	hook.log = slog.New(slog.NewJSONHandler(out, nil))
	hook.log.Info("listening", "addr", listener.Addr().String())
	if err := out.flush(); err != nil {
		return err
	}
	go out.flushEvery(ctx, 100*time.Millisecond)

	server := &http.Server{Handler: hook, ReadHeaderTimeout: shutdownLimit}
	go func() {
		<-ctx.Done()
		limited, cancel := context.WithTimeout(context.Background(), shutdownLimit)
		defer cancel()
		_ = server.Shutdown(limited)
	}()
	if err := server.ServeTLS(listener, *cert, *key); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return out.flush()
}

func load(ctx context.Context, file string) (*webhook, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var b bundle
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	options := append(modules(b.Modules), rego.Query(gather(b.Queries)))
	query, err := rego.New(options...).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	return &webhook{query: query}, nil
}

// gather returns one query whose value is an object from each query to its value.
func gather(queries []string) string {
	fields := make([]string, len(queries))
	for i, query := range queries {
		fields[i] = fmt.Sprintf("%q: %s", query, query)
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if r.Method != http.MethodPost {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	var req request
	if err := util.NewJSONDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	warnings, err := h.judge(r.Context(), req.Input)
	if err != nil {
		h.log.Error("request", "uid", req.UID, "error", err.Error())
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := review{"admission.k8s.io/v1", "AdmissionReview", response{req.UID, true, warnings}}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		h.log.Error("request", "uid", req.UID, "error", err.Error())
		return
	}
	h.log.Info("request", "uid", req.UID, "warnings", len(warnings), "microseconds", time.Since(start).Microseconds())
}

// judge returns a line for each violation. The input becomes OPA's own value once, without a second pass through JSON.
func (h *webhook) judge(ctx context.Context, input any) ([]string, error) {
	value, err := ast.InterfaceToValue(input)
	if err != nil {
		return nil, err
	}
	results, err := h.query.Eval(ctx, rego.EvalParsedInput(value))
	if err != nil || len(results) == 0 {
		return nil, err
	}
	found, ok := results[0].Expressions[0].Value.(map[string]any)
	if !ok {
		return nil, errors.New("the query gave no object")
	}
	var warnings []string
	for query, violations := range found {
		list, _ := violations.([]any)
		for _, violation := range list {
			if fields, ok := violation.(map[string]any); ok {
				warnings = append(warnings, fmt.Sprintf("%s: %v", query, fields["message"]))
			}
		}
	}
	return warnings, nil
}

// A flushed writer gathers log lines and writes them out now and then, as servers under load do.
type flushed struct {
	mutex  sync.Mutex
	writer *bufio.Writer
}

func (f *flushed) Write(line []byte) (int, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.writer.Write(line)
}

func (f *flushed) flush() error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.writer.Flush()
}

func (f *flushed) flushEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if f.flush() != nil {
				return
			}
		}
	}
}
