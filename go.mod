module github.com/uprung/uprung

go 1.26
