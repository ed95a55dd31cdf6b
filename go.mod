module m365_defender_exporter

go 1.26.8
