// Passes values of baggage through OpenTelemetry: one JSON string a line in, one out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/propagation"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var value string
		if err := json.Unmarshal(in.Bytes(), &value); err != nil {
			panic(err)
		}
		received := propagation.MapCarrier{"baggage": value}
		sent := propagation.MapCarrier{}
		propagation.Baggage{}.Inject(propagation.Baggage{}.Extract(context.Background(), received), sent)
		out, _ := json.Marshal(sent["baggage"])
		fmt.Println(string(out))
	}
}
