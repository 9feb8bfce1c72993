// Runs before the first paint, so that a chosen theme does not flash: a classic script, the only one.
// Storage can be forbidden; main.js says so, here the system's theme is simply right.
try {
  document.documentElement.dataset.theme = localStorage.getItem("streamgauge.theme") ?? "system";
} catch {
  document.documentElement.dataset.theme = "system";
}
