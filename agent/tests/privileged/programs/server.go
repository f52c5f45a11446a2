// server PORT: an HTTP server of Go's net/http.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var big = []byte(strings.Repeat("b", 300000))

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.Copy(io.Discard, r.Body)
		switch strings.Split(r.URL.Path, "/")[1] {
		case "hello":
			io.WriteString(w, "hello\n")
		case "big":
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			w.Write(big)
		case "upload":
			fmt.Fprintf(w, "got %d\n", sent)
		case "slow":
			time.Sleep(150 * time.Millisecond)
			io.WriteString(w, "slow\n")
		case "chunked":
			for i := 0; i < 10; i++ {
				w.Write(big[:1000])
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		default:
			http.Error(w, "not here", http.StatusNotFound)
		}
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
	os.Exit(1)
}
