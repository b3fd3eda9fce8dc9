//go:build race

package main

// raceDetector: the lab that trials run on is some times slower.
const raceDetector = true
