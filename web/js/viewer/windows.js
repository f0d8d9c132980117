// Windows: those of the organs as measured, then the usual ones; [centre, width] in HU.

export const PRESETS = [
  ["Soft tissue", [40, 400]], ["Liver, usual", [60, 150]], ["Lung", [-600, 1500]], ["Bone", [400, 1800]],
];

const title = (name) => name[0].toUpperCase() + name.slice(1);

/** All windows of a phase, by name. */
export function windowsOf(phase) {
  return [...phase.windows.map(([organ, window]) => [`${title(organ)}, this phase`, window]), ...PRESETS];
}

/** The window to begin with: the liver as it is in this phase. */
export function firstWindow(phase) {
  return phase.windows.find(([organ]) => organ === "liver")?.[1] ?? PRESETS[0][1];
}
