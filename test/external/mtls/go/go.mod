module cambist.dev/mtls

go 1.22
