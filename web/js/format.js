// Words and figures, the same everywhere.

const LOCAL = new Intl.DateTimeFormat("en-GB", {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
});
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

export const time = (text) => (text ? LOCAL.format(new Date(text)) : "");
export const clock = (text) => (text ? CLOCK.format(new Date(text)) : "");

export function ago(text) {
  const seconds = (Date.now() - new Date(text)) / 1000;
  if (seconds < 60) return "just now";
  return `${span(seconds)} ago`;
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const number = (value, digits = 1) =>
  value === null || value === undefined ? "–" : value.toFixed(digits);

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1 << 20) return `${(bytes / 1024).toFixed(0)} KiB`;
  if (bytes < 1 << 30) return `${(bytes / (1 << 20)).toFixed(1)} MiB`;
  return `${(bytes / (1 << 30)).toFixed(1)} GiB`;
}

export const words = (code) => String(code ?? "").replaceAll("_", " ");
export const shortKey = (key) => `${key.slice(0, 8)}…${key.slice(-4)}`;
// A slice is called as on the pictures of a report: by the archive's number where that is known, and
// counted from the head.
export const sliceName = (instance, number, of) => [instance === null || instance === undefined ? "" : `Im ${instance}`, number ? `slice ${number}${of ? `/${of}` : ""}` : ""].filter(Boolean).join(", ");

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export const PHASES = { nc: "Native", ap: "Arterial", vp: "Portal venous", dp: "Delayed" };

// Lesions in order of priority; a colour each that is told apart in both themes and on CT.
export const CLASSES = [
  { label: 1, name: "HCC", long: "Hepatocellular carcinoma", malignant: true, rgb: [232, 74, 58] },
  { label: 2, name: "ICC", long: "Cholangiocarcinoma", malignant: true, rgb: [240, 138, 36] },
  { label: 3, name: "Meta", long: "Metastasis", malignant: true, rgb: [236, 196, 48] },
  { label: 4, name: "Hem", long: "Haemangioma", malignant: false, rgb: [176, 118, 232] },
  { label: 5, name: "Other", long: "Other benign lesion", malignant: false, rgb: [92, 160, 236] },
  { label: 6, name: "Cyst", long: "Cyst", malignant: false, rgb: [72, 204, 196] },
];
export const ORGANS = [
  { label: 7, name: "Liver", rgb: [150, 108, 84] },
  { label: 8, name: "Hepatic vessels", rgb: [84, 110, 196] },
  { label: 9, name: "Portal vein", rgb: [60, 140, 190] },
  { label: 10, name: "Gallbladder", rgb: [96, 168, 72] },
  { label: 11, name: "Spleen", rgb: [160, 84, 140] },
  { label: 12, name: "Pancreas", rgb: [206, 164, 96] },
  { label: 13, name: "Stomach", rgb: [128, 128, 150] },
];

export const VERDICTS = {
  suspected: { text: "Suspected finding", tone: "bad" },
  uncertain: { text: "Uncertain", tone: "warn" },
  not_suspected: { text: "Nothing suspected", tone: "calm" },
};
export const STATES = {
  receiving: { text: "Receiving", tone: "live" },
  queued: { text: "Waiting", tone: "calm" },
  running: { text: "Running", tone: "live" },
  done: { text: "Done", tone: "ok" },
  rejected: { text: "Refused", tone: "warn" },
  dead: { text: "Failed", tone: "bad" },
  superseded: { text: "Superseded", tone: "calm" },
  online: { text: "Online", tone: "ok" },
  degraded: { text: "Degraded", tone: "warn" },
  draining: { text: "Stopping", tone: "calm" },
  stopped: { text: "Stopped", tone: "bad" },
};
