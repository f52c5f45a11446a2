// Serves the users over gRPC with grpc-go: grpcserver ADDRESS.
package main

import (
	"net"
	"os"

	"google.golang.org/grpc"

	"remora.test/peers/truth"
	"remora.test/peers/users"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	var counts truth.Counts
	server := grpc.NewServer(grpc.StatsHandler(&counts))
	server.RegisterService(&users.Service, nil)
	counts.PrintAtTerm()
	panic(server.Serve(listener))
}
