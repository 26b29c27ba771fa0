// The controllers of cert-manager that issue from a CA, and the injector of `caBundle`. Those of ACME and of other issuers would compile
// thousands of packages.
package main

import (
	"context"
	"log"
	"os"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	kubeconfig := os.Getenv("KUBECONFIG")
	background := context.Background()
	factory := must(controller.NewContextFactory(background, controller.ContextOptions{Kubeconfig: kubeconfig}))
	root := must(factory.Build())
	for name, create := range controller.Known() {
		each := must(create(factory))
		go func() { log.Fatal(name, each.Run(1, background)) }()
	}
	root.SharedInformerFactory.Start(background.Done())
	root.KubeSharedInformerFactory.Start(background.Done())

	controllerruntime.SetLogger(klog.Background())
	manager := must(controllerruntime.NewManager(root.RESTConfig, controllerruntime.Options{
		Scheme:  root.Scheme,
		Metrics: server.Options{BindAddress: "127.0.0.1:9402"},
	}))
	setup := cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor:        map[string]bool{cainjector.MutatingWebhookConfigurationName: true},
	}
	must(0, cainjector.RegisterAllInjectors(background, manager, setup))
	log.Fatal(manager.Start(background))
}
