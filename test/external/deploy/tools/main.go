// Decodes the manifests on standard input as an API server does under strict field validation: into the types of
// Kubernetes, with unknown and doubled fields refused. Prints a line for each; exits 1 where one is refused.
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
			fmt.Println("taken", kind.GroupVersion(), kind.Kind)
		case runtime.IsNotRegisteredError(err):
			fmt.Println("custom", err)
		default:
			fmt.Printf("refused %q\n", err.Error())
			code = 1
		}
	}
}
