// Serves the users over HTTP with Gin: gin ADDRESS. HTTP/2 without TLS is spoken as well.
package main

import (
	"io"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"
	"google.golang.org/grpc/codes"

	"remora.test/peers/truth"
	"remora.test/peers/users"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/api/v1/users/:id", one)
	engine.PUT("/api/v1/users/:id", one)
	engine.DELETE("/api/v1/users/:id", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	engine.POST("/api/v1/users", func(c *gin.Context) {
		var user users.User
		if err := c.ShouldBindJSON(&user); err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		c.JSON(http.StatusCreated, user)
	})
	var counts truth.Counts
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: os.Args[1], Handler: counts.Handler(engine), Protocols: protocols}
	counts.PrintAtTerm()
	panic(server.ListenAndServe())
}

func one(c *gin.Context) {
	// Over HTTP/2 an answer before the end of the body resets the stream: the request is cut.
	if _, err := io.Copy(io.Discard, c.Request.Body); err != nil {
		c.Status(http.StatusBadRequest)
		return
	}
	user, code := users.Find(c.Param("id"))
	if code != codes.OK {
		c.JSON(users.Status(code), gin.H{"message": code.String()})
		return
	}
	c.JSON(http.StatusOK, user)
}
