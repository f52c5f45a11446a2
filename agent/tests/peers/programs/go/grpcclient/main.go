// Makes unary calls with grpc-go over one connection: grpcclient ADDRESS CALLS STREAMS
// [APP]. STREAMS of them are in flight at a time. With APP, they are for that application
// of Dapr. Prints what came of them.
package main

import (
	"context"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"remora.test/peers/truth"
	"remora.test/peers/users"
)

func main() {
	calls, streams := number(os.Args[2]), number(os.Args[3])
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if len(os.Args) > 4 {
		ctx = metadata.AppendToOutgoingContext(ctx, "dapr-app-id", os.Args[4])
	}
	var (
		counts  truth.Counts
		next    atomic.Int64
		workers sync.WaitGroup
	)
	for range streams {
		workers.Go(func() {
			for {
				id := int(next.Add(1))
				if id > calls {
					return
				}
				_, err := users.Call(ctx, connection, user(id))
				counts.Add(truth.Kind{Protocol: "grpc", Method: "POST", Route: users.GetUser, Status: int(status.Code(err))})
			}
		})
	}
	workers.Wait()
	if err := connection.Close(); err != nil {
		panic(err)
	}
	counts.Print()
}

// user names whom a call asks for: every hundredth does not exist, and one in a thousand
// breaks the service.
func user(id int) string {
	switch {
	case id%1000 == 0:
		return "0"
	case id%100 == 0:
		return strconv.Itoa(users.Most + id)
	default:
		return strconv.Itoa(id)
	}
}

func number(text string) int {
	number, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return number
}
