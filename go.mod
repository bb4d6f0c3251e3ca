module github.com/uprung/uprung

go 1.26

require golang.org/x/time v0.12.0
