// Before anything is drawn: light or dark as chosen, else as the system has it.
try {
  const chosen = localStorage.getItem("hepalert-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* a browser that keeps nothing: the system's choice */ }
