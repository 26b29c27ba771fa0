// For each line of standard input, sends a request. With `new`, it closes its connection and reads its certificate again.
package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
)

func connect() *http.Transport {
	folder := os.Getenv("FOLDER")
	pem, err := os.ReadFile(folder + "/ca.pem")
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	own, err := tls.LoadX509KeyPair(folder+"/client.crt", folder+"/client.key")
	if err != nil {
		panic(err)
	}
	return &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}},
	}
}

func send(transport *http.Transport) map[string]any {
	port := 0
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		port = info.Conn.LocalAddr().(*net.TCPAddr).Port
	}}
	request, err := http.NewRequest("GET", os.Getenv("URL"), nil)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", os.Getenv("AUTHORIZATION"))
	response, err := transport.RoundTrip(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	fingerprint := sha256.Sum256(response.TLS.PeerCertificates[0].Raw)
	return map[string]any{
		"status":      response.StatusCode,
		"version":     response.Proto,
		"port":        port,
		"fingerprint": hex.EncodeToString(fingerprint[:]),
	}
}

func main() {
	var transport *http.Transport
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "new" {
			if transport != nil {
				transport.CloseIdleConnections()
			}
			transport = connect()
		}
		json.NewEncoder(os.Stdout).Encode(send(transport))
	}
}
