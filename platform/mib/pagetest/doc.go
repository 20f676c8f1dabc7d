// Package pagetest looks at the web page of the Market Intel Brain as people do: in a
// browser, against a whole mib up in a process of its own. It is a module of its own,
// so that nobody who uses mib needs the browser's driver.
//
// Chromium is needed (Debian: chromium). Without it the tests say so and skip.
package pagetest
