"use strict";
const $ = (id) => document.getElementById(id);
const { classes, suffixes, ...data } = JSON.parse($("data").textContent);
const images = data.images.map(({ errors, ...image }, index) => ({ ...image, ...errors, index }));
const VIEWS = ["image", "mask", "prediction", "errors", "probability"];
const NOTES = {
  errors: "Errors: wrong pixels are red, void and ignored ones white.",
  probability: "Probability of the predicted class: black is 0, white is 1.",
};
const ROW = 72, MARGIN = 4, MAX_SCALE = 40;
let shown = [], current = 0;  // images of the list; position of the selected one
const rows = new Map();  // elements of the visible rows, by position

function element(tag, text, ...children) {
  const node = document.createElement(tag);
  node.textContent = text;
  node.append(...children);
  return node;
}
const swatch = (k) => Object.assign(element("i", ""), { style: `background:${classes[k].color}` });
const percent = (fraction) => `${Number((100 * fraction).toPrecision(2))} %`;
const decimal = (value) => value?.toFixed(3) ?? "–";
const path = (view, image) => `${view}/${image.number}.${suffixes[view]}`;

// Keys of errors: confused:7:8 is class 7 predicted as 8; missed:7; invented:7.
function errorsOf(image) {
  const single = (kind) => image[kind].map(([id, pixels]) => ({ key: `${kind}:${id}`, kind, id, pixels }));
  const confused = image.confusions.map(([id, other, pixels]) => ({ key: `confused:${id}:${other}`, kind: "confused", id, other, pixels }));
  return [...confused, ...single("missed"), ...single("invented")];
}
function errorSize(image, key) {
  const error = errorsOf(image).find((candidate) => candidate.key === key);
  return error ? error.pixels / image.pixels : null;
}
const errorText = ({ kind, id, other }) => `${classes[id].name} ${other === undefined ? kind : `as ${classes[other].name}`}`;

function fillControls() {
  classes.forEach(({ name, void: isVoid }, k) => {
    $("class").add(new Option(name, k));
    if (!isVoid) $("sort-classes").append(new Option(`IoU of ${name}`, `iou:${k}`));
  });
  const counts = new Map();
  for (const error of images.flatMap(errorsOf)) {
    counts.set(error.key, { ...error, count: (counts.get(error.key)?.count ?? 0) + 1 });
  }
  const groups = new Map([["missed", "Missed"], ["invented", "Invented"]]);
  classes.forEach(({ name }, k) => groups.set(k, `${name} predicted as`));
  const errors = [...counts.values()].sort((a, b) => b.count - a.count || a.id - b.id);
  for (const [key, label] of groups) {
    const group = Object.assign(element("optgroup", ""), { label });
    for (const error of errors.filter(({ kind, id }) => key === (kind === "confused" ? id : kind))) {
      group.append(new Option(`${errorText(error)} (${error.count})`, error.key));
    }
    if (group.children.length) $("error").append(group);
  }
  for (const id of ["left-view", "right-view"]) VIEWS.forEach((view) => $(id).add(new Option(view, view)));
  $("right-view").value = "prediction";
}

function sortValue(image) {
  const key = $("sort").value;
  if (key === "size") return image.height * image.width;
  if (key === "error") return errorSize(image, $("error").value);
  return key.startsWith("iou") ? image.ious[Number(key.slice(4))] : image[key];
}
function caption(image) {
  const key = $("sort").value;
  if (key === "size") return `${image.width} × ${image.height}`;
  if (key === "error") return `${percent(errorSize(image, $("error").value))} of the pixels`;
  return key.startsWith("iou") ? `IoU ${decimal(sortValue(image))}` : `mIoU ${decimal(image.miou)}`;
}

function updateList(selected) {
  const error = $("error").value;
  $("sort").querySelector("[value=error]").disabled = !error;
  if (!error && $("sort").value === "error") $("sort").value = "miou";
  const name = $("name").value.toLowerCase(), least = Number($("least").value), order = Number($("order").value);
  const matches = (image) => image.id.toLowerCase().includes(name) && (!error || (errorSize(image, error) ?? -1) >= least) &&
    ($("class").value === "" || image.annotated.includes(Number($("class").value)));
  shown = images.filter(matches).map((image) => ({ image, value: sortValue(image) }))
    .sort((a, b) => (a.value === null) - (b.value === null) || order * (a.value - b.value))
    .map(({ image }) => image);
  $("count").textContent = `${shown.length} of ${images.length} images`;
  rows.clear();
  $("list").replaceChildren(Object.assign(element("div", ""), { style: `height: ${shown.length * ROW}px`, role: "presentation" }));
  select(Math.max(0, shown.indexOf(selected)));
}

function drawRows() {  // only those in sight have elements
  const top = $("list").scrollTop, first = Math.max(0, Math.floor(top / ROW) - MARGIN);
  const last = Math.min(shown.length, Math.ceil((top + $("list").clientHeight) / ROW) + MARGIN);
  for (const [i, row] of rows) if (i < first || i >= last) { row.remove(); rows.delete(i); }
  for (let i = first; i < last; i++) if (!rows.has(i)) rows.set(i, $("list").appendChild(makeRow(i)));
  for (const [i, row] of rows) row.setAttribute("aria-selected", i === current);
}
function makeRow(i) {
  const thumbnail = Object.assign(new Image(), { loading: "lazy", alt: "", src: path("thumbnail", shown[i]) });
  const row = element("div", "", thumbnail, element("span", shown[i].id, element("b", caption(shown[i]))));
  return Object.assign(row, { id: `row-${i}`, role: "option", ariaPosInSet: i + 1, ariaSetSize: shown.length,
    style: `top: ${i * ROW}px`, onclick: () => select(i) });
}

function select(position) {
  current = Math.min(Math.max(0, position), Math.max(0, shown.length - 1));
  const list = $("list"), top = current * ROW;
  list.scrollTop = Math.max(top + ROW - list.clientHeight, Math.min(list.scrollTop, top));
  drawRows();
  $("stage").hidden = $("details").hidden = !shown.length;
  if (!shown.length) return list.removeAttribute("aria-activedescendant");
  list.setAttribute("aria-activedescendant", `row-${current}`);
  drawViews();
  drawDetails(shown[current]);
  fit();
  history.replaceState(null, "", `#${encodeURIComponent(shown[current].id)}`);
  for (const neighbor of [shown[current - 1], shown[current + 1]]) {
    if (neighbor) for (const side of ["left", "right"]) new Image().src = path($(`${side}-view`).value, neighbor);
  }
}
function drawViews() {
  if (!shown.length) return;
  const image = shown[current];
  for (const side of ["left", "right"]) {
    const view = $(`${side}-view`).value, shownImage = $(side).querySelector("img");
    Object.assign(shownImage, { alt: `${view} of ${image.id}`, width: image.width, height: image.height });
    if (shownImage.getAttribute("src") !== path(view, image)) shownImage.src = path(view, image);
    $(side).querySelector("b").textContent = view;
  }
  $("notes").textContent = [...new Set([$("left-view").value, $("right-view").value])].map((v) => NOTES[v] ?? "").join(" ");
}
function drawDetails(image) {
  $("title").textContent = image.id;
  $("facts").textContent = `image ${current + 1} of ${shown.length}, ${image.width} × ${image.height} pixels, mIoU ${decimal(image.miou)}`;
  const present = classes.map((_, k) => k).filter((k) => image.ious[k] !== null || image.annotated.includes(k));
  $("ious").replaceChildren(...present.map((k) =>
    element("li", "", swatch(k), element("span", classes[k].name), element("small", decimal(image.ious[k])))));
  const errors = errorsOf(image).sort((a, b) => b.pixels - a.pixels).slice(0, 12);
  $("errors").replaceChildren(...errors.map((error) => {
    const button = Object.assign(element("button", errorText(error)), { type: "button", onclick: () => findError(error.key) });
    return element("li", "", swatch(error.id), button, element("small", percent(error.pixels / image.pixels)));
  }));
}
function findError(key) {
  $("form").reset();
  for (const [id, value] of [["error", key], ["sort", "error"], ["order", "-1"]]) $(id).value = value;
  updateList();
  $("list").focus();
}

// Zoom: scale is in CSS pixels per image pixel, x and y are those of the image's corner in the stage.
const zoom = { scale: 1, x: 0, y: 0, fitted: true };
const stageSize = () => [$("stage").clientWidth, $("stage").clientHeight];
function fitScale() {
  const [width, height] = stageSize(), image = shown[current];
  return Math.min(width / image.width, height / image.height, MAX_SCALE);
}
function place(changes) {  // and keep the image in the stage
  if (!shown.length) return;
  Object.assign(zoom, changes);
  const [width, height] = stageSize(), image = shown[current];
  const limit = (offset, length, room) => (length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset)));
  zoom.x = limit(zoom.x, image.width * zoom.scale, width);
  zoom.y = limit(zoom.y, image.height * zoom.scale, height);
  for (const side of ["left", "right"]) {
    $(side).querySelector("img").style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
    $(side).classList.toggle("pixels", zoom.scale >= 2);
  }
  $("zoom").value = `${Math.round(100 * zoom.scale)} %`;
}
const fit = () => shown.length && place({ scale: fitScale(), fitted: true });
const pan = (dx, dy) => place({ x: zoom.x + dx, y: zoom.y + dy });
function zoomTo(scale, [x, y] = stageSize().map((side) => side / 2)) {
  if (!shown.length) return;
  const bounded = Math.min(MAX_SCALE, Math.max(Math.min(1, fitScale()), scale)), ratio = bounded / zoom.scale;
  place({ scale: bounded, x: x - (x - zoom.x) * ratio, y: y - (y - zoom.y) * ratio, fitted: false });
}
function setSlider(value) {
  $("slider").value = value;
  $("stage").style.setProperty("--split", `${$("slider").value}%`);
}

let dragged = null;  // element
const pointers = new Map();  // positions in the stage of the pressed pointers
const inStage = ({ clientX, clientY }, box = $("stage").getBoundingClientRect()) => [clientX - box.left, clientY - box.top];
$("stage").onpointerdown = (event) => {
  $("stage").setPointerCapture(event.pointerId);
  if (!pointers.size) dragged = event.target;
  pointers.set(event.pointerId, inStage(event));
};
$("stage").onpointermove = (event) => {
  const before = pointers.get(event.pointerId), now = inStage(event);
  if (!before) return;
  if (dragged === $("divider")) setSlider((100 * now[0]) / stageSize()[0]);
  else if (pointers.size === 1) pan(now[0] - before[0], now[1] - before[1]);
  else {
    const [, other] = [...pointers].find(([id]) => id !== event.pointerId);
    const distance = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
    zoomTo((zoom.scale * distance(now)) / Math.max(1, distance(before)), other);
  }
  pointers.set(event.pointerId, now);
};
$("stage").onpointerup = $("stage").onpointercancel = (event) => pointers.delete(event.pointerId);
$("stage").addEventListener("wheel", (event) => {
  event.preventDefault();
  const steps = -event.deltaY / (event.deltaMode ? 12 : event.ctrlKey ? 100 : 400);  // lines, pinch, pixels
  zoomTo(zoom.scale * 2 ** Math.max(-1, Math.min(1, steps)), inStage(event));
}, { passive: false });
new ResizeObserver(() => (zoom.fitted ? fit() : place())).observe($("stage"));
new ResizeObserver(drawRows).observe($("list"));

function setViews(left, right) {
  [$("left-view").value, $("right-view").value] = [left, right];
  drawViews();
}
const KEYS = {
  ArrowLeft: () => select(current - 1), ArrowRight: () => select(current + 1),
  Home: () => select(0), End: () => select(shown.length - 1),
  "+": () => zoomTo(zoom.scale * 1.25), "=": () => zoomTo(zoom.scale * 1.25), "-": () => zoomTo(zoom.scale / 1.25),
  0: fit, s: () => setViews($("right-view").value, $("left-view").value),
  ",": () => setSlider(Number($("slider").value) - 5), ".": () => setSlider(Number($("slider").value) + 5),
  "/": () => { $("filters").open = true; $("name").focus(); }, "?": () => $("help").showModal(),
};
const PANS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
document.addEventListener("keydown", (event) => {
  const { key, target, shiftKey } = event, digit = event.code.match(/^Digit([1-5])$/);
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (key.length === 1 && !$("shortcuts").checked) return;
  if (target.matches("select, input") && (target !== $("slider") || key.length > 1)) return;
  const vertical = target === $("list") && { ArrowUp: "ArrowLeft", ArrowDown: "ArrowRight" }[key];
  let action = KEYS[(!shiftKey && vertical) || key];
  if (digit) action = () => { $(shiftKey ? "left-view" : "right-view").value = VIEWS[digit[1] - 1]; drawViews(); };
  if (shiftKey && PANS[key]) action = () => pan(...PANS[key]);
  if (!action) return;
  event.preventDefault();
  action();
});

$("list").onscroll = drawRows;
$("form").oninput = () => updateList();
$("form").onreset = () => setTimeout(updateList);  // after the controls are reset
for (const side of ["left", "right"]) {
  $(`${side}-view`).onchange = drawViews;
  $(side).querySelector("img").onerror = () => { $("notes").textContent = "An image file is missing: keep index.html in its folder."; };
}
$("slider").oninput = () => setSlider($("slider").value);
for (const button of document.querySelectorAll("[data-key]")) button.onclick = KEYS[button.dataset.key];
$("actual").onclick = () => zoomTo(1);

fillControls();
$("filters").open = matchMedia("(min-width: 801px)").matches;
const linked = () => images.find(({ id }) => `#${encodeURIComponent(id)}` === location.hash);
updateList(linked());
addEventListener("hashchange", () => linked() && updateList(linked()));
