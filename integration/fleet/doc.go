// Package fleet runs twenty servers as processes of their own, kills, stops and slows
// some of them as a plan says, and sends them requests meanwhile, each at its time
// whatever became of those before. The same plan can be carried out with a simulated
// fleet, in a bubble of testing/synctest, to know what to expect.
//
// The processes are the test binary itself, which calls [Main] in its TestMain. They
// listen on addresses of 127.0.0.0/8 that belong to the process of the test, so that
// nobody takes the port of one that was killed, and end with it, however it ends.
//
// It works on Linux only, and so do the tests that use it.
package fleet
