// Before anything is painted: the theme that was chosen in this browser.
"use strict";
try {
  const theme = localStorage.getItem("pingpulse-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch { /* storage may be forbidden: then the system's theme it is */ }
