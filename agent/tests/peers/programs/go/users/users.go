// Package users is the service that every server here offers, over HTTP and gRPC.
package users

import (
	"context"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Most is the largest id of a user that exists.
const Most = 900_000

// GetUser is the full name of the method.
const GetUser = "/shop.v1.Users/GetUser"

// User is what the API answers.
type User struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// Find looks a user up; 0 is an id that breaks the service.
func Find(text string) (User, codes.Code) {
	id, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return User{}, codes.InvalidArgument
	case id == 0:
		return User{}, codes.Internal
	case id > Most:
		return User{}, codes.NotFound
	}
	return User{id, "user " + text}, codes.OK
}

// Status is the HTTP status of an outcome.
func Status(code codes.Code) int {
	switch code {
	case codes.OK:
		return 200
	case codes.InvalidArgument:
		return 400
	case codes.NotFound:
		return 404
	default:
		return 500
	}
}

func get(_ context.Context, request *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	user, code := Find(request.GetValue())
	if code != codes.OK {
		return nil, status.Error(code, "no user "+request.GetValue())
	}
	return wrapperspb.String(user.Name), nil
}

// Service is the description that the generator of code would write.
var Service = grpc.ServiceDesc{
	ServiceName: "shop.v1.Users",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "GetUser",
		Handler: func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			request := new(wrapperspb.StringValue)
			if err := decode(request); err != nil {
				return nil, err
			}
			handler := func(ctx context.Context, request any) (any, error) {
				return get(ctx, request.(*wrapperspb.StringValue))
			}
			if interceptor == nil {
				return handler(ctx, request)
			}
			info := &grpc.UnaryServerInfo{Server: server, FullMethod: GetUser}
			return interceptor(ctx, request, info, handler)
		},
	}},
}

// Call asks for a user.
func Call(ctx context.Context, connection grpc.ClientConnInterface, id string) (string, error) {
	answer := new(wrapperspb.StringValue)
	err := connection.Invoke(ctx, GetUser, wrapperspb.String(id), answer)
	return answer.GetValue(), err
}
