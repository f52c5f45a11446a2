// Makes a mix of requests over HTTP: httpclient PROTOCOL BASE ROUNDS CONNECTIONS [APP], with
// PROTOCOL http1 or h2c and BASE such as http://127.0.0.1:8080. Each round is one request
// of every kind. With APP, they are for that application of Dapr. Prints what came of them.
package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"remora.test/peers/truth"
	"remora.test/peers/users"
)

// kinds are the requests of a round; {id} is another number in each.
var kinds = []struct{ method, path, body string }{
	{"GET", "/api/v1/users/{id}", ""},
	{"HEAD", "/api/v1/nothing", ""},
	{"POST", "/api/v1/users", `{"id": 7, "name": "new"}`},
	{"PUT", "/api/v1/users/{id}", `{"id": 7, "name": "put"}`},
	{"DELETE", "/api/v1/users/{id}", ""},
	{"GET", "/api/v1/users/{missing}", ""},
	{"GET", "/api/v1/users/0", ""},
	{"GET", "/api/v1/nothing", ""},
}

func main() {
	base, rounds, connections := os.Args[2], number(os.Args[3]), number(os.Args[4])
	protocols := new(http.Protocols)
	protocols.SetHTTP1(os.Args[1] == "http1")
	protocols.SetUnencryptedHTTP2(os.Args[1] == "h2c")
	var (
		counts  truth.Counts
		next    atomic.Int64
		workers sync.WaitGroup
	)
	for range connections {
		workers.Go(func() {
			// A connection of its own for each worker.
			client := http.Client{Transport: &http.Transport{Protocols: protocols, MaxIdleConnsPerHost: 1}}
			defer client.CloseIdleConnections()
			for {
				round := int(next.Add(1))
				if round > rounds {
					return
				}
				for _, kind := range kinds {
					one(&client, &counts, base, kind.method, path(kind.path, round), kind.body)
				}
			}
		})
	}
	workers.Wait()
	counts.Print()
}

func one(client *http.Client, counts *truth.Counts, base, method, path, body string) {
	request, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if len(os.Args) > 5 {
		request.Header.Set("dapr-app-id", os.Args[5])
	}
	if body == "" {
		request.Body = http.NoBody
		request.ContentLength = 0
	} else {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		panic(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		panic(err)
	}
	if err := response.Body.Close(); err != nil {
		panic(err)
	}
	counts.Add(truth.Kind{Protocol: "http", Method: method, Route: truth.Route(request.URL.Path), Status: response.StatusCode})
}

func path(pattern string, round int) string {
	return strings.NewReplacer(
		"{id}", strconv.Itoa(round),
		"{missing}", strconv.Itoa(users.Most+round),
	).Replace(pattern)
}

func number(text string) int {
	number, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return number
}
