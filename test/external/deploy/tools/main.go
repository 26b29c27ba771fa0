// Decodes the manifests on standard input into the types of Kubernetes, as an API server with strict field validation
// does: it refuses unknown and duplicate fields. Prints a line for each manifest, and exits with 1 if one is refused.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	code := 0
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			os.Exit(code)
		}
		if err != nil {
			panic(err)
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		_, kind, err := decoder.Decode(document, nil, nil)
		switch {
		case err == nil:
			fmt.Println("accepted", kind.GroupVersion(), kind.Kind)
		case runtime.IsNotRegisteredError(err):
			fmt.Println("custom", err)
		default:
			fmt.Printf("refused %q\n", err.Error())
			code = 1
		}
	}
}
