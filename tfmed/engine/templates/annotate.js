// A person answers: outlines of slices by brush and fill, or the class of a case. All is saved as it goes.
const by = (id) => document.getElementById(id);
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const query = (values) => new URLSearchParams(values).toString();
const ground = by("ground"), marks = by("marks");
let table, sheet, z = 0, plane = null, chosen = 1, tool = "brush", shown = 0;
const undos = new Map();  // sheet and slice -> planes before each stroke
const lately = [];  // cases in the order in which they were answered
const MOST_UNDOS = 50;

async function asked(address, options) {
  const found = await fetch(address, options);
  if (!found.ok) throw Object.assign(new Error(await found.text()), { status: found.status });
  return found;
}

// --- saving: the newest state of each slice, one after the other; what fails is tried again ---
const waiting = new Map();
let saving = null;
function tell(text, wrong = false) {
  by("said").textContent = text;
  by("said").className = wrong ? "wrong" : "note";
}
function keep(address, body) {
  waiting.set(address, body);
  saving ??= work().finally(() => { saving = null; });
  return saving;
}
const settled = () => saving?.catch(() => {});
async function work() {
  while (waiting.size) {
    const [address, body] = waiting.entries().next().value;
    tell("saving ...");
    try {
      await asked(address, { method: "PUT", body });
      if (waiting.get(address) === body) waiting.delete(address);
    } catch (error) {
      tell(`not saved: ${error.status ? error.message : "the server does not answer; has tfmed annotate ended?"}`, true);
      if (error.status && error.status < 500) { waiting.delete(address); throw error; }
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
  tell("saved");
}
addEventListener("beforeunload", (event) => { if (waiting.size) event.preventDefault(); });

// --- what is asked for ---
async function renew() {
  table = await (await asked("sheets")).json();
  const left = table.sheets.filter((one) => one.state !== "done").length;
  by("sheets").replaceChildren(...table.sheets.map((one) => {
    const button = element("button", { className: one.state, textContent: one.answer ? `${one.name}: ${one.answer}` : one.name, title: one.name });
    button.setAttribute("aria-current", String(sheet?.name === one.name));
    button.addEventListener("click", () => open(one.name));
    return button;
  }), element("p", { className: "note", textContent: left
    ? `${left} of ${table.sheets.length} of round ${table.number} are open. Answers go to ${table.place}.`
    : `Round ${table.number} is finished. Go on with: tfmed fit ${table.run} --resume` }));
}
async function open(name, at = null) {
  await settled();
  sheet = table.sheets.find((one) => one.name === name);
  by("image").replaceChildren(...sheet.images.map((one) => element("option", { textContent: one })));
  by("imageLabel").hidden = sheet.images.length < 2;
  by("slice").max = sheet.shape[0] - 1;
  by("sliceLabel").hidden = sheet.shape[0] < 2;
  await look(at ?? Math.floor(sheet.shape[0] / 2));
  await renew();
}
async function look(slice) {
  const turn = ++shown;
  plane = null;  // nothing is drawn on a slice that is not there yet
  z = slice;
  by("slice").value = z;
  by("sliceSaid").textContent = `${z + 1} of ${sheet.shape[0]}`;
  const place = { sheet: sheet.name, z };
  const picture = await createImageBitmap(await (await asked(`image?${query({ ...place, image: by("image").value })}`)).blob());
  const label = table.kind === "slices" ? new Uint8Array(await (await asked(`label?${query(place)}`)).arrayBuffer()) : null;
  if (turn !== shown) return;
  for (const canvas of [ground, marks]) [canvas.width, canvas.height] = [picture.width, picture.height];
  ground.getContext("2d").drawImage(picture, 0, 0);
  plane = label;
  fit();
  draw();
}
function fit() {
  const room = document.querySelector("main"), high = ground.height * sheet.aspect;
  const scale = Math.min((room.clientWidth - 20) / ground.width, (room.clientHeight - 20) / high) * Number(by("zoom").value);
  by("stage").style.width = `${ground.width * scale}px`;
  by("stage").style.height = `${high * scale}px`;
  ground.style.filter = `brightness(${by("bright").value})`;
}
function next() {
  const at = table.sheets.findIndex((one) => one.name === sheet.name);
  const found = [...table.sheets.slice(at + 1), ...table.sheets.slice(0, at + 1)].find((one) => one.state !== "done");
  return open((found ?? sheet).name);
}

// --- outlines ---
function draw() {
  if (!plane) return;
  const image = new ImageData(marks.width, marks.height), alpha = Math.round(255 * Number(by("opacity").value));
  const colours = table.classes.map((one) => one.colour);
  for (let at = 0; at < plane.length; at++) {
    if (plane[at]) image.data.set([...colours[plane[at]], alpha], 4 * at);
  }
  marks.getContext("2d").putImageData(image, 0, 0);
}
const history = () => {
  const key = `${z} ${sheet.name}`;
  if (!undos.has(key)) undos.set(key, []);
  return undos.get(key);
};
function remember() {
  history().push(plane.slice());
  if (history().length > MOST_UNDOS) history().shift();
}
function saveSlice() {
  keep(`label?${query({ sheet: sheet.name, z })}`, plane.slice()).then(renew, () => {});
}
function undo() {
  if (table.kind !== "slices") {
    const name = lately.pop();
    if (name) keep(`answer?${query({ sheet: name })}`, "").then(() => open(name), () => {});
    return;
  }
  if (!plane || !history().length) return;
  plane = history().pop();
  draw();
  saveSlice();
}
function dot(x, y) {
  const radius = Number(by("size").value) / 2, wide = marks.width;
  const high = radius / sheet.aspect;  // a circle on the screen, whatever the pixels are
  for (let row = Math.max(0, Math.ceil(y - high)); row <= Math.min(marks.height - 1, y + high); row++) {
    for (let column = Math.max(0, Math.ceil(x - radius)); column <= Math.min(wide - 1, x + radius); column++) {
      const inside = ((row - y) / high) ** 2 + ((column - x) / radius) ** 2 <= 1;
      if (inside || (row === Math.round(y) && column === Math.round(x))) plane[row * wide + column] = chosen;
    }
  }
}
function stroke(from, to) {
  const steps = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])));
  for (let k = 0; k <= steps; k++) dot(from[0] + (to[0] - from[0]) * k / steps, from[1] + (to[1] - from[1]) * k / steps);
}
function flood(x, y) {  // the region of one class around a pixel, by its four neighbours
  const wide = marks.width, start = Math.round(y) * wide + Math.round(x), old = plane[start];
  if (old === chosen) return;
  const stack = [start];
  plane[start] = chosen;
  while (stack.length) {
    const at = stack.pop(), column = at % wide;
    for (const to of [at - wide, at + wide, column ? at - 1 : -1, column < wide - 1 ? at + 1 : -1]) {
      if (to >= 0 && to < plane.length && plane[to] === old) { plane[to] = chosen; stack.push(to); }
    }
  }
}
const pixel = (event) => {
  const box = marks.getBoundingClientRect();
  return [(event.clientX - box.left) * marks.width / box.width - 0.5, (event.clientY - box.top) * marks.height / box.height - 0.5];
};
let from = null;
marks.addEventListener("pointerdown", (event) => {
  if (!plane || event.button) return;
  marks.setPointerCapture(event.pointerId);
  remember();
  from = pixel(event);
  if (tool === "fill") flood(Math.min(Math.max(from[0], 0), marks.width - 1), Math.min(Math.max(from[1], 0), marks.height - 1));
  else stroke(from, from);
  draw();
});
marks.addEventListener("pointermove", (event) => {
  if (!from || !plane || tool === "fill") return;
  const to = pixel(event);
  stroke(from, to);
  from = to;
  draw();
});
for (const name of ["pointerup", "pointercancel"]) {
  marks.addEventListener(name, () => {
    if (from && plane) saveSlice();
    from = null;
  });
}
function clear() {
  if (!plane) return;
  remember();
  plane.fill(0);
  draw();
  saveSlice();
}
async function finish() {
  try {
    await settled();
    await keep(`finish?${query({ sheet: sheet.name })}`, "");
    await renew();
    await next();
  } catch (error) { tell(error.message, true); }
}

// --- classes ---
async function choose(k) {
  if (table.kind === "slices") {
    chosen = k;
    [...by("classes").children].forEach((one, at) => one.setAttribute("aria-pressed", String(at === k)));
    return;
  }
  try {
    await keep(`answer?${query({ sheet: sheet.name })}`, table.classes[k].name);
    lately.push(sheet.name);
    await renew();
    await next();
  } catch (error) { tell(error.message, true); }
}

// --- what a person can do ---
function use(name) {
  tool = name;
  for (const one of ["brush", "fill"]) by(one).setAttribute("aria-pressed", String(one === name));
}
addEventListener("keydown", (event) => {
  if (event.target.matches("select")) return;
  const first = table.kind === "slices" ? 0 : 1;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "z") { event.preventDefault(); undo(); }
  } else if (/^[0-9]$/.test(event.key) && Number(event.key) >= first && table.classes[Number(event.key) - first]) choose(Number(event.key) - first);
  else if (table.kind === "slices" && event.key === "b") use("brush");
  else if (table.kind === "slices" && event.key === "f") use("fill");
  else if (table.kind === "slices" && event.key === "Enter" && !event.target.matches("button")) finish();
});
by("undo").addEventListener("click", undo);
by("slice").addEventListener("input", async () => { await settled(); look(Number(by("slice").value)); });
by("image").addEventListener("change", async () => { await settled(); look(z); });
for (const name of ["zoom", "bright"]) by(name).addEventListener("input", fit);
addEventListener("resize", () => sheet && fit());

async function begin() {
  await renew();
  table.classes.forEach((one, k) => {
    const patch = element("i");
    patch.style.background = k || table.kind !== "slices" ? `rgb(${one.colour.join(",")})` : "#555";
    const button = element("button", { title: `key ${table.kind === "slices" ? k : k + 1}` }, patch, one.name);
    button.addEventListener("click", () => { choose(k); button.blur(); });
    by("classes").append(button);
  });
  if (table.kind === "slices") {
    by("brush").addEventListener("click", () => use("brush"));
    by("fill").addEventListener("click", () => use("fill"));
    by("opacity").addEventListener("input", draw);
    by("finish").addEventListener("click", finish);
    by("clear").addEventListener("click", clear);
    choose(Math.min(1, table.classes.length - 1));
  }
  await open((table.sheets.find((one) => one.state !== "done") ?? table.sheets[0]).name);
}
const ready = begin().catch((error) => tell(error.message, true));
globalThis.annotate = { ready, get saved() { return saving; }, get plane() { return plane; }, get place() { return [sheet?.name, z]; } };
