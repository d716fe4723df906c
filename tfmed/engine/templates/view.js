// The cases of a page: panels side by side, each with layers that can be hidden, in planes that are scrolled together.
const MOST_TICKS = 24;  // of a layer's classes; more are folded away
const views = JSON.parse(document.getElementById("views").textContent);
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const bytes = (number) => Uint8Array.from(atob(document.getElementById(`data${number}`).textContent), (c) => c.charCodeAt(0));
const rounded = (value) => String(Number(Number(value).toPrecision(4)));
const said = (layer, value) => {
  if (layer.kind !== "labels") return `${layer.name} ${rounded(value)}`;
  const at = Math.round(value);
  return `${layer.name}: ${at > 0 && layer.classes[at - 1] ? layer.classes[at - 1].name : "none"}`;
};

// --- one panel of a volume, by NiiVue ---
class VolumePanel {
  constructor(panel, stage, place) {
    Object.assign(this, { panel, stage, place });
    this.canvas = element("canvas", { tabIndex: 0 });
    stage.append(this.canvas);
  }
  async open(way, at) {
    this.niivue = new globalThis.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [1, 0.75, 0, 0.7], crosshairWidth: 0.3, crosshairWidthUnit: "percent", multiplanarShowRender: 1, isRadiologicalConvention: true,
      show3Dcrosshair: true, isColorbar: false, showLegend: false, dragAndDropEnabled: false, isResizeCanvas: true, logLevel: "error",
    });
    await this.niivue.attachToCanvas(this.canvas);
    for (const [number, layer] of this.panel.layers.entries()) {
      const key = `map${layer.data}-${number}`;
      if (layer.map) this.niivue.addColormap(key, layer.map);
      const volume = await this.niivue.addVolumeFromUrl({
        url: `${number}.nii.gz`, name: `${number}.nii.gz`, buffer: bytes(layer.data).buffer,
        colormap: layer.map ? key : "gray", opacity: layer.shown ? layer.opacity : 0, trustCalMinMax: false,
        ...(layer.map && !layer.colour ? { cal_min: layer.window[0], cal_max: layer.window[1] } : {}),
      });
      if (layer.table) volume.setColormapLabel(layer.table);
    }
    this.niivue.updateGLVolume();
    this.niivue.onLocationChange = (found) => this.tell(found);
    this.show(way);
    this.canvas.addEventListener("pointerdown", () => this.canvas.focus());
    this.canvas.addEventListener("wheel", () => this.canvas.focus(), { passive: true });
    if (at) this.position = this.niivue.mm2frac(at);
    else this.niivue.createOnLocationChange();
  }
  tell(found) {
    const values = (found.values || []).map((one, k) => said(this.panel.layers[k], one.value));
    const mm = Array.from(found.mm || []).slice(0, 3).map((one) => one.toFixed(1)).join(", ");
    this.place.textContent = `${mm} mm: ${values.join("; ")}`;
    this.moved?.();
  }
  show(way) { this.niivue.setSliceType(way); }
  fade(number, opacity) { this.niivue.setOpacity(number, opacity); }
  hide(number, table) {
    this.niivue.volumes[number].setColormapLabel(table);
    this.niivue.updateGLVolume();
  }
  get slices() {  // voxels of the ground, along sagittal, coronal and axial cuts
    return this.niivue.volumes[0].dimsRAS.slice(1, 4);
  }
  get position() { return Array.from(this.niivue.scene.crosshairPos); }
  set position(place) {
    this.niivue.scene.crosshairPos = place;
    this.niivue.drawScene();
    this.niivue.createOnLocationChange();
  }
  close() {
    this.niivue.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

// --- one panel of a picture ---
class PicturePanel {
  constructor(panel, stage, place) {
    Object.assign(this, { panel, stage, place });
    stage.classList.add("picture");
    this.canvas = element("canvas");
    this.frame = element("div", { className: "frame" }, this.canvas);
    stage.append(this.frame);
  }
  async open() {
    this.state = await Promise.all(this.panel.layers.map(async (layer) => {
      const image = await createImageBitmap(new Blob([bytes(layer.data)], { type: "image/png" }));
      const canvas = new OffscreenCanvas(image.width, image.height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const raw = context.getImageData(0, 0, image.width, image.height);
      return { canvas, context, raw, opacity: layer.shown ? layer.opacity : 0, table: layer.table || layer.map, names: [] };
    }));
    const [width, height] = ["width", "height"].map((side) => Math.max(...this.state.map((one) => one.canvas[side])));
    Object.assign(this.canvas, { width, height });
    Object.assign(this.frame.style, { aspectRatio: `${width} / ${height}`, width: `min(100cqw, ${100 * width / height}cqh)` });
    this.state.forEach((_, number) => this.colour(number));
    this.state.forEach((_, number) => this.name(number));
    apart(this.state.flatMap((one) => one.names.map(({ text }) => text)), this.frame);
    this.canvas.addEventListener("pointermove", (event) => this.tell(event));
    this.draw();
  }
  colour(number) {  // bytes -> colours
    const { raw, context, table } = this.state[number], layer = this.panel.layers[number];
    if (layer.colour) return;
    const full = layer.kind === "labels" ? table : stretched(table);
    const made = new ImageData(raw.width, raw.height);
    for (let at = 0; at < raw.data.length; at += 4) {
      const value = valueAt(layer, raw, at);
      made.data[at] = full.R[value]; made.data[at + 1] = full.G[value]; made.data[at + 2] = full.B[value];
      made.data[at + 3] = layer.kind === "image" ? 255 : full.A[value];
    }
    context.putImageData(made, 0, 0);
  }
  name(number) {  // names of classes over the upper left of where they are
    const { raw, names } = this.state[number], layer = this.panel.layers[number], corners = new Map();
    if (!layer.written?.length) return;
    for (let at = 0; at < raw.data.length; at += 4) {
      const k = valueAt(layer, raw, at) - 1, x = at / 4 % raw.width, y = Math.floor(at / 4 / raw.width);
      if (k >= 0) corners.set(k, [Math.min(x, corners.get(k)?.[0] ?? x), corners.get(k)?.[1] ?? y]);
    }
    for (const k of layer.written.filter((one) => corners.has(one))) {
      const [x, y] = corners.get(k), { name, colour } = layer.classes[k];
      const text = element("span", { textContent: name, className: y < raw.height / 16 ? "name inside" : "name" });
      Object.assign(text.style, { left: `${100 * x / raw.width}%`, top: `${100 * y / raw.height}%`, color: `rgb(${colour.join(",")})` });
      names.push({ k, text });
      this.frame.append(text);
    }
  }
  draw() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = false;  // layers may have pixels of other sizes
    for (const { canvas, opacity, names, table } of this.state) {
      context.globalAlpha = opacity;
      context.drawImage(canvas, 0, 0, this.canvas.width, this.canvas.height);
      for (const { k, text } of names) text.hidden = !opacity || !table.A[k + 1];
    }
  }
  tell(event) {
    const box = this.canvas.getBoundingClientRect();
    const [across, down] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (across < 0 || down < 0 || across >= 1 || down >= 1) return;
    const { width, height } = this.state[0].raw, y = Math.floor(down * height), x = Math.floor(across * width);
    const values = this.panel.layers.map((layer, number) => {
      const { raw } = this.state[number], at = 4 * (Math.floor(down * raw.height) * raw.width + Math.floor(across * raw.width));
      if (layer.colour) return `${layer.name} ${raw.data.slice(at, at + 3).join(" ")}`;
      const [low, high] = layer.window;
      const value = valueAt(layer, raw, at);
      return said(layer, layer.kind === "labels" ? value : low + value * (high - low) / 255);
    });
    this.place.textContent = `row ${y}, column ${x}: ${values.join("; ")}`;
  }
  show() {}
  fade(number, opacity) { this.state[number].opacity = opacity; this.draw(); }
  hide(number, table) { this.state[number].table = table; this.colour(number); this.draw(); }
  close() {}
}

function apart(texts, frame) {  // texts that would cover each other are moved up or down
  const taken = [], least = frame.getBoundingClientRect().top;
  for (const text of texts) {
    const { left, right, top, height } = text.getBoundingClientRect();
    const free = (y) => y >= least && taken.every((one) => right < one.left || left > one.right || y + height <= one.top || y >= one.top + one.height);
    const steps = Array.from({ length: 30 }, (_, k) => (k % 2 ? -1 : 1) * Math.ceil(k / 2));
    const down = height * (steps.find((one) => free(top + one * height)) ?? 0);
    text.style.marginTop = `${down}px`;
    taken.push({ left, right, top: top + down, height });
  }
}

function valueAt(layer, raw, at) {  // numbers of classes have two bytes
  return raw.data[at] + (layer.kind === "labels" ? 256 * raw.data[at + 1] : 0);
}

function stretched(map) {  // a colour map of few entries to 256
  const full = { R: [], G: [], B: [], A: [] };
  for (let value = 0, k = 0; value < 256; value++) {
    while (k < map.I.length - 2 && value > map.I[k + 1]) k++;
    const part = (value - map.I[k]) / (map.I[k + 1] - map.I[k]);
    for (const name of "RGBA") full[name].push(Math.round(map[name][k] + part * (map[name][k + 1] - map[name][k])));
  }
  return full;
}

// --- what a person can do ---
const select = document.getElementById("case"), way = document.getElementById("way"), status = document.getElementById("said");
views.forEach((view, number) => select.append(element("option", { value: number, textContent: view.title })));
let open = [];

function controls(shown, layer, number) {
  const box = element("input", { type: "checkbox", checked: layer.shown });
  const slider = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: layer.opacity, title: "opacity" });
  const renew = () => shown.fade(number, box.checked ? Number(slider.value) : 0);
  box.addEventListener("change", renew);
  slider.addEventListener("input", renew);
  const label = element("label", {}, box, " ", layer.name);
  const range = layer.kind === "labels" || layer.colour ? "" : `${rounded(layer.window[0])} to ${rounded(layer.window[1])}`;
  const row = element("div", { className: "layer" }, label, element("span", { className: "note", textContent: range }), slider);
  if (!layer.table) return [row];
  const table = structuredClone(layer.table), classes = element("div", { className: "classes" });
  layer.classes.forEach((one, k) => {
    const tick = element("input", { type: "checkbox", checked: true });
    tick.addEventListener("change", () => {
      table.A[k + 1] = tick.checked ? 255 : 0;
      shown.hide(number, structuredClone(table));
    });
    const patch = element("i");
    patch.style.background = `rgb(${one.colour.join(",")})`;
    if (one.at) {
      Object.assign(patch, { className: "go", title: `go to ${one.name}` });
      patch.addEventListener("click", (event) => {
        event.preventDefault();  // the class stays shown
        for (const each of open) each.position = each.niivue.mm2frac(one.at);
      });
    }
    classes.append(element("label", {}, tick, patch, one.name));
  });
  if (layer.classes.length <= MOST_TICKS) return [row, classes];
  return [row, element("details", {}, element("summary", { textContent: `${layer.classes.length} parts` }), classes)];
}

function sliders(shown) {  // a slider for each plane, that moves all panels
  const rows = element("div", { className: "slices" });
  const names = ["sagittal", "coronal", "axial"];
  const found = names.map((name, axis) => {
    const slider = element("input", { type: "range", min: 0, max: Math.max(0, shown.slices[axis] - 1), step: 1, title: `${name} slice` });
    slider.addEventListener("input", () => {
      const place = shown.position;
      place[axis] = (Number(slider.value) + 0.5) / shown.slices[axis];
      for (const one of open) one.position = place;
    });
    rows.prepend(element("span", { textContent: name }), slider);
    return slider;
  });
  shown.moved = () => found.forEach((slider, axis) => {
    slider.value = Math.floor(shown.position[axis] * shown.slices[axis]);
  });
  shown.moved();
  return rows;
}

async function show(number) {
  status.textContent = "reading ...";
  open.forEach((one) => one.close());
  const main = document.getElementById("panels"), view = views[number];
  main.replaceChildren();
  open = view.panels.map((panel) => {
    const stage = element("div", { className: "stage" }), place = element("div", { className: "place" });
    const shown = new (panel.kind === "volume" ? VolumePanel : PicturePanel)(panel, stage, place);
    shown.section = element("section", {}, element("h2", { textContent: panel.title }), stage, place);
    main.append(shown.section);
    return shown;
  });
  for (const shown of open) {
    await shown.open(Number(way.value), view.at);
    shown.panel.layers.forEach((layer, k) => shown.section.append(...controls(shown, layer, k)));
  }
  const volumes = open.filter((one) => one.niivue);
  volumes.forEach((one) => one.niivue.broadcastTo(volumes.filter((other) => other !== one).map((other) => other.niivue), { "2d": true, "3d": true }));
  volumes.forEach((one) => one.section.insertBefore(sliders(one), one.place.nextSibling));
  for (const name of ["wayLabel", "help"]) document.getElementById(name).hidden = !volumes.length;
  status.textContent = view.note;
}

let turn = Promise.resolve();  // one case at a time, in the order in which they were chosen
function choose() {
  turn = turn.then(() => show(Number(select.value))).catch((error) => {
    status.textContent = `cannot be shown: ${error.message}`;
    status.className = "wrong";
    console.error(error);
  });
  return turn;
}
select.addEventListener("change", choose);
way.addEventListener("change", () => open.forEach((one) => one.show(Number(way.value))));
choose();
globalThis.viewer = { get ready() { return turn; }, get panels() { return open; } };
