// Serves the users over HTTP and gRPC with go-zero: gozero PORT GRPC_ADDRESS.
package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/rest"
	"github.com/zeromicro/go-zero/rest/httpx"
	"github.com/zeromicro/go-zero/rest/pathvar"
	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"remora.test/peers/truth"
	"remora.test/peers/users"
)

// By default go-zero refuses requests while the processor is busy, and all of a route for a
// while after some have failed: the counts are of what was asked then, not of what the
// handlers did. Both are off, so that the test can say what the statuses are.
const settings = `
Name: users
Host: 127.0.0.1
Port: 1
ListenOn: 127.0.0.1:0
Timeout: 60000
CpuThreshold: 0
Middlewares: {Breaker: false, Shedding: false}
`

func main() {
	logx.Disable()
	var counts truth.Counts
	counts.PrintAtTerm()

	var calls zrpc.RpcServerConf
	load(&calls)
	calls.ListenOn = os.Args[2]
	rpc := zrpc.MustNewServer(calls, func(server *grpc.Server) {
		server.RegisterService(&users.Service, new(any))
	})
	rpc.AddOptions(grpc.StatsHandler(&counts))
	go rpc.Start()

	var web rest.RestConf
	load(&web)
	web.Port, _ = strconv.Atoi(os.Args[1])
	server := rest.MustNewServer(web)
	server.AddRoutes([]rest.Route{
		{Method: http.MethodGet, Path: "/users/:id", Handler: one},
		{Method: http.MethodPut, Path: "/users/:id", Handler: one},
		{Method: http.MethodDelete, Path: "/users/:id", Handler: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		}},
		{Method: http.MethodPost, Path: "/users", Handler: create},
	}, rest.WithPrefix("/api/v1"))
	server.StartWithOpts(func(server *http.Server) { server.Handler = counts.Handler(server.Handler) })
}

func load(settingsOf any) {
	if err := conf.LoadFromYamlBytes([]byte(settings), settingsOf); err != nil {
		panic(err)
	}
}

func create(w http.ResponseWriter, r *http.Request) {
	var user users.User
	if err := json.NewDecoder(r.Body).Decode(&user); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	httpx.WriteJson(w, http.StatusCreated, user)
}

func one(w http.ResponseWriter, r *http.Request) {
	user, code := users.Find(pathvar.Vars(r)["id"])
	if code != codes.OK {
		httpx.WriteJson(w, users.Status(code), map[string]string{"message": code.String()})
		return
	}
	httpx.OkJson(w, user)
}
