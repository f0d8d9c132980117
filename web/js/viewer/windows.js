// Windows: those of the organs as measured, then the usual ones; [centre, width] in HU.

export const PRESETS = [
  ["Soft tissue", [40, 400]], ["Liver, usual", [60, 150]], ["Lung", [-600, 1500]], ["Bone", [400, 1800]],
];

/** The median of the liver as it is labelled and a width of three spreads, from some thousand voxels
 * of an image of whole HU as the device sends it; none where no liver is labelled. */
export function liverWindow(nifti, labels, liver) {
  const wanted = new Set(liver);
  const places = [];
  const step = Math.max(1, Math.floor(labels.length / 400000));
  for (let i = 0; i < labels.length; i += step) if (wanted.has(labels[i])) places.push(i);
  if (places.length < 50) return null;
  const every = Math.max(1, Math.floor(places.length / 5000));
  const image = new DataView(nifti.buffer, nifti.byteOffset, nifti.byteLength);
  const begin = image.byteLength - 2 * labels.length;
  const hu = places.filter((_, n) => n % every === 0).map((i) => image.getInt16(begin + 2 * i, true)).sort((a, b) => a - b);
  const at = (share) => hu[Math.floor((hu.length - 1) * share)];
  const tens = (value) => 10 * Math.round(value / 10);
  return [tens(at(0.5)), tens(Math.min(400, Math.max(120, 3 * (at(0.9) - at(0.1)))))];
}

const title = (name) => name[0].toUpperCase() + name.slice(1);

/** All windows of a phase, by name. */
export function windowsOf(phase) {
  return [...phase.windows.map(([organ, window]) => [`${title(organ)}, this phase`, window]), ...PRESETS];
}

/** The window to begin with: the liver as it is in this phase. */
export function firstWindow(phase) {
  return phase.windows.find(([organ]) => organ === "liver")?.[1] ?? PRESETS[0][1];
}
