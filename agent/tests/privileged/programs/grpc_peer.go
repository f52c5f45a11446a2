// grpc_peer serve ADDRESS / grpc_peer call ADDRESS PLAN CONCURRENCY
//
// gRPC of grpc-go, messages as plain bytes. See grpc/mod.rs for what server and client do.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
)

// plain passes messages as the bytes they are, under the name that stands for protobuf.
type plain struct{}

func (plain) Name() string                          { return "proto" }
func (plain) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (plain) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

type command struct {
	Replies []int  `json:"replies"`
	Echo    bool   `json:"echo"`
	Status  int    `json:"status"`
	Message string `json:"message"`
	Delay   int    `json:"delay"`
	Every   int    `json:"every"`
	Gzip    bool   `json:"gzip"`
}

type call struct {
	Path     string          `json:"path"`
	Command  json.RawMessage `json:"command"`
	Sizes    []int           `json:"sizes"`
	Deadline int             `json:"deadline"`
	Cancel   int             `json:"cancel"`
	Gzip     bool            `json:"gzip"`
}

type done struct {
	Path     string  `json:"path"`
	Status   int     `json:"status"`
	Message  string  `json:"message"`
	Received []int   `json:"received"`
	Seconds  float64 `json:"seconds"`
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func kindOf(path string) string {
	service := strings.Split(path, "/")[1]
	return service[strings.LastIndex(service, ".")+1:]
}

func millis(count int) time.Duration { return time.Duration(count) * time.Millisecond }

// --- server ---

// serveStream handles calls of every name. The kinds differ in who sends how many
// messages only, which is the same to the server.
func serveStream(_ interface{}, stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	kind := kindOf(path)
	if !strings.Contains("Unary Server Client Bidi", kind) {
		return status.Error(codes.Unimplemented, "unknown service")
	}
	order := command{Replies: []int{0}}
	for number := 0; ; number++ {
		var message []byte
		err := stream.RecvMsg(&message)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if number == 0 {
			order = command{}
			must(json.Unmarshal(message, &order))
		}
		if kind == "Bidi" && order.Echo {
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	}
	select {
	case <-time.After(millis(order.Delay)):
	case <-stream.Context().Done():
		return status.FromContextError(stream.Context().Err()).Err()
	}
	if order.Status != 0 {
		return status.Error(codes.Code(order.Status), order.Message)
	}
	for number, size := range order.Replies {
		if number > 0 {
			time.Sleep(millis(order.Every))
		}
		reply := bytes.Repeat([]byte("r"), size)
		if err := stream.SendMsg(&reply); err != nil {
			return err
		}
	}
	return nil
}

func listen(address string) net.Listener {
	network := "tcp"
	if strings.HasPrefix(address, "unix:") {
		network, address = "unix", address[len("unix:"):]
	}
	listener, err := net.Listen(network, address)
	must(err)
	return listener
}

// --- client ---

func messagesOf(c call) [][]byte {
	messages := make([][]byte, len(c.Sizes))
	for number, size := range c.Sizes {
		messages[number] = bytes.Repeat([]byte(" "), size)
		if number == 0 {
			copy(messages[0], c.Command)
		}
	}
	return messages
}

// invoke makes the call and returns the sizes of the replies.
func invoke(ctx context.Context, conn *grpc.ClientConn, c call, options []grpc.CallOption) ([]int, error) {
	kind := kindOf(c.Path)
	messages := messagesOf(c)
	received := []int{}
	if kind == "Unary" {
		var reply []byte
		err := conn.Invoke(ctx, c.Path, &messages[0], &reply, options...)
		if err == nil {
			received = append(received, len(reply))
		}
		return received, err
	}
	description := &grpc.StreamDesc{ClientStreams: kind != "Server", ServerStreams: kind != "Client"}
	stream, err := conn.NewStream(ctx, description, c.Path, options...)
	if err != nil {
		return received, err
	}
	for number := range messages {
		if err := stream.SendMsg(&messages[number]); err != nil && err != io.EOF {
			return received, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return received, err
	}
	for {
		var reply []byte
		err := stream.RecvMsg(&reply)
		if err == io.EOF {
			return received, nil
		}
		if err != nil {
			return received, err
		}
		received = append(received, len(reply))
		if kind == "Client" {
			return received, nil
		}
	}
}

func one(conn *grpc.ClientConn, c call) done {
	start := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if c.Deadline > 0 {
		ctx, cancel = context.WithTimeout(ctx, millis(c.Deadline))
		defer cancel()
	}
	if c.Cancel > 0 {
		time.AfterFunc(millis(c.Cancel), cancel)
	}
	options := []grpc.CallOption{}
	if c.Gzip {
		options = append(options, grpc.UseCompressor("gzip"))
	}
	received, err := invoke(ctx, conn, c, options)
	ended := status.Convert(err)
	return done{c.Path, int(ended.Code()), ended.Message(), received, time.Since(start).Seconds()}
}

func callAll(conn *grpc.ClientConn, file string, concurrency int) {
	text, err := os.ReadFile(file)
	must(err)
	var plan [][]call
	must(json.Unmarshal(text, &plan))
	lines := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for number, phase := range plan {
		if number > 0 {
			fmt.Println("paused")
			_, err := lines.ReadString('\n')
			must(err)
		}
		todo := make(chan call)
		results := make(chan done)
		var workers sync.WaitGroup
		for i := 0; i < concurrency; i++ {
			workers.Add(1)
			go func() {
				defer workers.Done()
				for c := range todo {
					results <- one(conn, c)
				}
			}()
		}
		go func() {
			for _, c := range phase {
				todo <- c
			}
			close(todo)
			workers.Wait()
			close(results)
		}()
		for result := range results {
			must(out.Encode(result))
		}
	}
}

func main() {
	encoding.RegisterCodec(plain{})
	address := os.Args[2]
	if os.Args[1] == "serve" {
		server := grpc.NewServer(grpc.UnknownServiceHandler(serveStream), grpc.MaxRecvMsgSize(math.MaxInt32))
		must(server.Serve(listen(address)))
	}
	conn, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	must(err)
	concurrency, err := strconv.Atoi(os.Args[4])
	must(err)
	callAll(conn, os.Args[3], concurrency)
	// What is left to send would be dropped: the reset of a call that was cancelled last.
	time.Sleep(100 * time.Millisecond)
	must(conn.Close())
}
