// client HOST:PORT PLAN CONCURRENCY: makes the planned requests with Go's net/http
// and prints one JSON line for each.
package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type planned struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   int    `json:"body"`
}

type done struct {
	Method   string  `json:"method"`
	Path     string  `json:"path"`
	Status   int     `json:"status"`
	Sent     int     `json:"sent"`
	Received int64   `json:"received"`
	Seconds  float64 `json:"seconds"`
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func one(client *http.Client, base string, p planned) done {
	var body io.Reader
	if p.Body > 0 {
		body = strings.NewReader(strings.Repeat("g", p.Body))
	}
	start := time.Now()
	request, err := http.NewRequest(p.Method, base+p.Path+"?token=secret", body)
	must(err)
	response, err := client.Do(request)
	must(err)
	received, err := io.Copy(io.Discard, response.Body)
	must(err)
	response.Body.Close()
	return done{p.Method, p.Path, response.StatusCode, p.Body, received, time.Since(start).Seconds()}
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	must(err)
	var plan []planned
	must(json.Unmarshal(text, &plan))
	concurrency, err := strconv.Atoi(os.Args[3])
	must(err)

	todo := make(chan planned)
	results := make(chan done)
	var workers sync.WaitGroup
	// With compression, net/http asks for gzip and counts other bytes than the wire.
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: concurrency}}
	for i := 0; i < concurrency; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for p := range todo {
				results <- one(client, "http://"+os.Args[1], p)
			}
		}()
	}
	go func() {
		for _, p := range plan {
			todo <- p
		}
		close(todo)
		workers.Wait()
		close(results)
	}()
	out := json.NewEncoder(os.Stdout)
	for result := range results {
		must(out.Encode(result))
	}
}
