// Reports each request that net/http reads, as JSON on a line of standard output.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		json.NewEncoder(os.Stdout).Encode(map[string]string{"method": r.Method, "url": r.RequestURI, "body": string(body)})
		w.Write([]byte("ok"))
	})))
}
