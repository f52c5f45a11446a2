// Package truth counts what a program did, in the program's own words.
package truth

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"sort"
	"sync"
	"syscall"

	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// Kind is what requests are counted by. Route is the pattern of the path for HTTP and the
// full method for gRPC; Status is that of HTTP or of gRPC.
type Kind struct {
	Protocol string `json:"protocol"`
	Method   string `json:"method"`
	Route    string `json:"route"`
	Status   int    `json:"status"`
}

type line struct {
	Kind
	Count int `json:"count"`
}

// Counts is safe for concurrent use.
type Counts struct {
	mutex sync.Mutex
	of    map[Kind]int
}

// Add counts one request.
func (c *Counts) Add(kind Kind) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.of == nil {
		c.of = map[Kind]int{}
	}
	c.of[kind]++
}

// Print writes one JSON object a kind on standard output.
func (c *Counts) Print() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	lines := make([]line, 0, len(c.of))
	for kind, count := range c.of {
		lines = append(lines, line{kind, count})
	}
	sort.Slice(lines, func(i, j int) bool { return fmt.Sprint(lines[i]) < fmt.Sprint(lines[j]) })
	output := json.NewEncoder(os.Stdout)
	for _, line := range lines {
		if err := output.Encode(line); err != nil {
			panic(err)
		}
	}
}

var user = regexp.MustCompile(`/api/v1/users/\d+$`)

// Route is the pattern that the servers registered for a path, with what a sidecar may want
// in front of it.
func Route(path string) string {
	return user.ReplaceAllLiteralString(path, "/api/v1/users/{id}")
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Handler counts every request that reaches a server, whatever becomes of its answer. It is
// the outermost handler: what a framework refuses by itself is counted too.
func (c *Counts) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kept := &recorder{w, http.StatusOK}
		method, route := r.Method, Route(r.URL.Path)
		defer func() { c.Add(Kind{"http", method, route, kept.status}) }()
		next.ServeHTTP(kept, r)
	})
}

type method struct{}

// TagRPC, with the other methods, makes a [stats.Handler] of the counts: it hears of every
// call, also of those that a framework refuses before any interceptor of ours.
func (c *Counts) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, method{}, info.FullMethodName)
}

// HandleRPC counts a call when it has ended.
func (c *Counts) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if end, ok := event.(*stats.End); ok {
		name, _ := ctx.Value(method{}).(string)
		c.Add(Kind{"grpc", "POST", name, int(status.Code(end.Error))})
	}
}

// TagConn does nothing.
func (c *Counts) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (c *Counts) HandleConn(context.Context, stats.ConnStats) {}

// PrintAtTerm prints the counts and ends the program on SIGTERM. By then nothing is in
// flight: whoever asks has its answers.
func (c *Counts) PrintAtTerm() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		c.Print()
		os.Exit(0)
	}()
}
