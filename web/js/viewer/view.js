// One canvas with a CT and labels over it. The only file that knows NiiVue.
//
// Labels are bytes in RAS order, as the device sends them and as NiiVue keeps its drawing: nothing is
// turned here, so nothing can be turned wrongly.

import { DRAG_MODE, NVImage, Niivue, SLICE_TYPE, cmapper } from "/vendor/niivue.js";
import { CLASSES, ORGANS, sliceName } from "../format.js";

export const DISCARDED = 14;
/** What is drawn of a study, in its colours. */
export const DRAWN = [...CLASSES, ...ORGANS, { label: DISCARDED, name: "Discarded", rgb: [190, 190, 196] }];
const PLANES = { axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, all: SLICE_TYPE.MULTIPLANAR };

/** Colours by label: `known` have a label, a name and a colour. */
function colours(known) {
  const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: ["background"] };
  for (const { label, name, rgb } of known) {
    const [r, g, b] = rgb;
    map.R.push(r); map.G.push(g); map.B.push(b); map.A.push(255); map.I.push(label); map.labels.push(name);
  }
  return map;
}

/** The window to begin with is known: NiiVue need not look for one in every voxel, which holds the
 * page up for most of the time that reading an image takes. */
NVImage.prototype.calMinMax = function () {
  const { cal_min: low, cal_max: high } = this.hdr;
  Object.assign(this, { cal_min: low, cal_max: high, robust_min: low, robust_max: high, global_min: Math.min(-1024, low), global_max: Math.max(3071, high) });
  return [low, high, low, high];
};

/** A texture is empty when it is made. NiiVue fills those of colours, four bytes a voxel, with zeros once
 * more; no image of colours is loaded here. */
function withoutZeros({ gl }) {
  const put = gl.texSubImage3D.bind(gl);
  gl.texSubImage3D = (...what) => { if (what[8] !== gl.RGBA) put(...what); };
}

/** NiiVue asks after each slice whether it can be drawn to, and the page stands still until the graphics
 * have done all before it. All slices are of one texture, which can. */
function withoutQuestions({ gl }) {
  gl.checkFramebufferStatus = () => gl.FRAMEBUFFER_COMPLETE;
}

/** Lets the page draw and take keys before more work. */
export const breathe = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

/** NiiVue shades its 3-D rendering by the gradient of the whole volume, which it computes anew at each
 * change of the window, in three passes over every slice. Nothing is rendered in 3-D here: those
 * passes are left out, most of the time of loading where there is no graphics card. */
function withoutGradient(nv) {
  const { gl } = nv;
  let isGradient = false;
  const [use, draw] = [gl.useProgram.bind(gl), gl.drawArrays.bind(gl)];
  gl.useProgram = (program) => { isGradient = false; use(program); };
  gl.drawArrays = (...what) => { if (!isGradient) draw(...what); };
  for (const name of ["blurShader", "gradientPrePassShader", "sobelFirstOrderShader", "sobelSecondOrderShader"]) {
    const shader = nv[name];
    if (!shader?.use) continue;
    const begin = shader.use.bind(shader);
    shader.use = (context) => { begin(context); isGradient = true; };
  }
}

/** Where a place in the patient is within the image: of one that lies oblique NiiVue must be told to
 * take true millimetres, as `place` does. */
const fracOf = (nv, mm) => nv.mm2frac(mm, 0, true);

export class View {
  constructor(canvas, phase) {
    this.canvas = canvas;
    this.phase = phase;
    this.instances = [];
    this.moved = () => {};
    this.drawn = () => {};
    this.nv = new Niivue({
      sliceType: SLICE_TYPE.AXIAL, multiplanarShowRender: 0, multiplanarPadPixels: 14, backColor: [0, 0, 0, 1], crosshairColor: [0.95, 0.85, 0.35, 0.8],
      crosshairWidth: 0.18, crosshairWidthUnit: "percent", crosshairGap: 12, isRadiologicalConvention: true, isOrientationTextVisible: true, showAllOrientationMarkers: true, isColorbar: false,
      isRuler: false, loadingText: "", dragAndDropEnabled: false, isResizeCanvas: true, fontSizeScaling: 0.35, fontMinPx: 12,
      viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", maxDrawUndoBitmaps: 2, logLevel: "error", show3Dcrosshair: false,
      measureLineColor: [0.35, 0.85, 0.9, 1], measureTextColor: [0.35, 0.85, 0.9, 1], selectionBoxColor: [0.35, 0.85, 0.9, 0.4],
    });
    // The letter at the right edge is half beyond it.
    const left = this.nv.drawTextLeft.bind(this.nv);
    this.nv.drawTextLeft = ([x, y], ...about) => left([x - 6, y], ...about);
    this.nv.setMouseEventConfig?.({ leftButton: { primary: DRAG_MODE.crosshair }, rightButton: DRAG_MODE.windowing, centerButton: DRAG_MODE.pan });
    this.setNames(DRAWN);
    this.nv.onLocationChange = (place) => this.moved(place);
    this.nv.onDrawingChanged = (what) => { if (what === "draw") this.drawn(); };
    canvas.view = this;
  }

  /** Makes the canvas ready: while the image is on its way, since that takes NiiVue a while. */
  attach() {
    this.attached ??= (async () => {
      await this.nv.attachToCanvas(this.canvas, true);
      withoutZeros(this.nv);
      withoutQuestions(this.nv);
      withoutGradient(this.nv);
    })();
    return this.attached;
  }

  async load(bytes, [centre, width]) {
    await this.attach();
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    await this.nv.addVolumeFromUrl({ url: `${this.phase}.nii`, name: `${this.phase}.nii`, buffer, colormap: "gray", cal_min: centre - width / 2, cal_max: centre + width / 2, trustCalMinMax: false });
    this.window = [centre, width];
    this.nv.setInterpolation(true);
  }

  get dims() { return this.nv.volumes[0].dimsRAS.slice(1, 4); }
  get labels() { return this.nv.drawBitmap; }

  /** Shows labels: one byte per voxel, or none. */
  setLabels(labels) {
    const { nv } = this;
    if (!nv.drawBitmap) nv.createEmptyDrawing();
    if (nv.drawBitmap.length !== labels.length) throw new Error(`${labels.length} labels for ${nv.drawBitmap.length} voxels`);
    nv.drawBitmap.set(labels);
    nv.refreshDrawing(true);
  }

  /** What labels are called, in which colours. */
  setNames(known) {
    this.nv.drawLut = cmapper.makeDrawLut(colours(known));
    if (this.nv.volumes.length) this.nv.refreshColormaps();
  }

  refresh() { this.nv.refreshDrawing(true); }

  setLook(fill, boundary) {
    this.nv.drawRimOpacity = boundary ? 1 : -1;
    this.nv.setDrawOpacity(boundary ? fill : Math.max(fill, 0.05));
  }

  setWindow([centre, width]) {
    const volume = this.nv.volumes[0];
    this.window = [centre, width];
    volume.cal_min = centre - width / 2;
    volume.cal_max = centre + width / 2;
    this.nv.updateGLVolume();
  }

  setPlane(plane) { this.nv.setSliceType(PLANES[plane]); this.plane = plane; }

  /** What the left button does: `look`, `measure`, `pan` or `draw`. */
  setTool(tool) {
    const { nv } = this;
    nv.setMouseEventConfig?.({
      leftButton: { primary: tool === "measure" ? DRAG_MODE.measurement : tool === "pan" ? DRAG_MODE.pan : DRAG_MODE.crosshair },
      rightButton: DRAG_MODE.windowing, centerButton: DRAG_MODE.pan,
    });
    if (nv.opts.drawingEnabled !== (tool === "draw")) nv.setDrawingEnabled(tool === "draw");
  }

  setPen(label, size, filled) {
    this.nv.setPenValue(label, filled);
    this.nv.opts.penSize = size;
  }

  clearMeasures() {
    this.nv.clearAllMeasurements?.();
    this.nv.drawScene();
  }

  /** Where the crosshair is in the patient, in millimetres RAS. */
  place() { return Array.from(this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true)).slice(0, 3); }

  /** Moves the crosshair to a place in the patient, in millimetres RAS. */
  goTo(mm) {
    const { nv } = this;
    nv.scene.crosshairPos = fracOf(nv, mm);
    nv.createOnLocationChange();
    nv.drawScene();
    nv.sync?.();
  }

  /** Moves it to a voxel, x, y, z, and tells where that lies in the patient. */
  goToVoxel(voxel) {
    const frac = this.nv.vox2frac(voxel);
    this.nv.scene.crosshairPos = frac;
    this.nv.createOnLocationChange();
    this.nv.drawScene();
    return this.place();
  }

  /** The voxel at a place in the patient, x, y, z. */
  voxelAt(mm) { return Array.from(this.nv.frac2vox(fracOf(this.nv, mm))).map(Math.round); }

  /** Steps slices of the plane that is shown. */
  step(count) {
    const by = this.plane === "coronal" ? [0, count, 0] : this.plane === "sagittal" ? [count, 0, 0] : [0, 0, count];
    this.nv.moveCrosshairInVox(...by);
  }

  /** The voxel under the crosshair, x, y, z. */
  voxel() { return Array.from(this.nv.frac2vox(this.nv.scene.crosshairPos)).map(Math.round); }

  /** What the axial slice under the crosshair is called. */
  slice() {
    const z = this.voxel()[2];
    const count = this.dims[2];
    return sliceName(this.instances[z], count - z, count);
  }

  hu() {
    const [x, y, z] = this.voxel();
    return this.nv.volumes[0].getValue(x, y, z);
  }

  zoom(factor) {
    const [x, y, z, now] = this.nv.scene.pan2Dxyzmm;
    this.nv.setPan2Dxyzmm(factor === 0 ? [0, 0, 0, 1] : [x, y, z, Math.min(12, Math.max(0.5, now * factor))]);
  }

  close() {
    this.canvas.view = null;
    this.nv.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

/** Steps slices of one; the others follow. NiiVue tells them only from a canvas with the focus. */
export function stepAll(views, view, count) {
  view.step(count);
  const place = view.place();
  for (const other of views) if (other !== view) other.goTo(place);
}

/** One crosshair for all. */
export function tie(views) {
  for (const view of views) {
    view.nv.broadcastTo(views.filter((other) => other !== view).map((other) => other.nv), { "2d": true, "3d": true });
  }
}
