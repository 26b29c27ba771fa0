module cambist.dev/framing

go 1.22
