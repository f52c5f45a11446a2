// Serves the users over HTTP and gRPC with Kratos: kratos ADDRESS GRPC_ADDRESS.
package main

import (
	"net/http"
	"os"
	"time"

	"github.com/go-kratos/kratos/v2"
	"github.com/go-kratos/kratos/v2/errors"
	kgrpc "github.com/go-kratos/kratos/v2/transport/grpc"
	khttp "github.com/go-kratos/kratos/v2/transport/http"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"remora.test/peers/truth"
	"remora.test/peers/users"
)

func main() {
	var counts truth.Counts
	// Both give up after a second by default, which is little for a thousand connections.
	web := khttp.NewServer(khttp.Address(os.Args[1]), khttp.Timeout(time.Minute), khttp.Filter(counts.Handler))
	router := web.Route("/api/v1")
	router.GET("/users/{id}", one)
	router.PUT("/users/{id}", one)
	router.DELETE("/users/{id}", func(c khttp.Context) error {
		c.Response().WriteHeader(http.StatusNoContent)
		return nil
	})
	router.POST("/users", func(c khttp.Context) error {
		var user users.User
		if err := c.Bind(&user); err != nil {
			return err
		}
		return c.JSON(http.StatusCreated, user)
	})
	calls := kgrpc.NewServer(kgrpc.Address(os.Args[2]), kgrpc.Timeout(time.Minute), kgrpc.Options(grpc.StatsHandler(&counts)))
	calls.RegisterService(&users.Service, new(any))
	app := kratos.New(kratos.Name("users"), kratos.Server(web, calls))
	counts.PrintAtTerm()
	if err := app.Run(); err != nil {
		panic(err)
	}
	// The other listener for SIGTERM prints and ends the program.
	select {}
}

func one(c khttp.Context) error {
	user, code := users.Find(c.Vars().Get("id"))
	if code != codes.OK {
		return errors.New(users.Status(code), "USER", code.String())
	}
	return c.JSON(http.StatusOK, user)
}
