
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const holder = byId("data");
  let data = JSON.parse(holder.textContent);
  const width = Number(holder.dataset.width), height = Number(holder.dataset.height);
  const canvas = byId("map"), pen = canvas.getContext("2d"), picture = byId("picture"), hint = byId("hint");
  const language = document.documentElement.lang, words = data.words;
  const filled = (text, ...values) => values.reduce((line, value) => line.replace("{}", value), text);
  const number = (value, digits) => value.toLocaleString(language, { maximumFractionDigits: digits || 0 });
  const metres = (m2) => (m2 >= 1e6 ? number(m2 / 1e6, 2) + " km²" : number(m2, m2 < 100 ? 1 : 0) + " m²");

  function outlined([kind, confidence, area, rings]) {
    const path = new Path2D();
    let left = Infinity, top = Infinity, right = -Infinity, bottom = -Infinity;
    for (const ring of rings) {
      let x = 0, y = 0;
      for (let i = 0; i < ring.length; i += 2) {
        x += ring[i];
        y += ring[i + 1];
        const px = x / data.unit, py = y / data.unit;
        if (i) path.lineTo(px, py); else path.moveTo(px, py);
        left = Math.min(left, px);
        right = Math.max(right, px);
        top = Math.min(top, py);
        bottom = Math.max(bottom, py);
      }
      path.closePath();
    }
    return { kind, confidence, area, path, box: [left, top, right, bottom] };
  }
  let objects = data.objects.map(outlined);

  const boxes = [...document.querySelectorAll("input[data-class]")];
  const least = byId("least"), fill = byId("fill");
  const known = objects.map((each) => each.confidence).filter((value) => value !== null);
  const lowest = known.reduce((a, b) => Math.min(a, b), 1), highest = known.reduce((a, b) => Math.max(a, b), 0);
  if (known.length && highest > lowest) {
    least.min = Math.floor(lowest * 100) / 100;
    least.max = Math.floor(highest * 100) / 100;
    least.step = 0.01;
    least.value = least.min;
    byId("confidence").hidden = false;
  }
  const rows = boxes.map((box) => box.closest("tr").cells);
  const total = data.classes.reduce((sum, kind) => sum + kind.number, 0);
  let shown = [], paths = [], chosen = null;

  function filter() {
    const limit = known.length ? Number(least.value) : 0, open = boxes.map((box) => box.checked);
    const sure = (each) => each.confidence === null || each.confidence >= limit;
    shown = objects.filter((each) => open[each.kind] !== false && sure(each));
    if (!shown.includes(chosen)) choose(null);
    paths = data.classes.map(() => new Path2D());
    for (const each of shown) paths[each.kind].addPath(each.path);
    byId("value").textContent = limit.toLocaleString(language, { minimumFractionDigits: 2 });
    byId("shown").textContent = filled(words.shown, number(shown.length), number(objects.length));
    const all = !known.length || limit <= Number(least.min) || objects.length < total;
    rows.forEach((cells, kind) => {
      const here = objects.filter((each) => each.kind === kind && sure(each)), counted = data.classes[kind];
      cells[1].textContent = number(all ? counted.number : here.length);
      cells[2].textContent = metres(all ? counted.area_m2 : here.reduce((sum, each) => sum + each.area, 0));
    });
    draw();
  }

  let scale = 1, x = 0, y = 0, fits = 1;
  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paint();
    });
  }

  function paint() {
    const ratio = window.devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    pen.imageSmoothingEnabled = scale < 4;
    if (picture && picture.complete) pen.drawImage(picture, 0, 0, width, height);
    else {
      pen.fillStyle = "#f7f8fa";
      pen.fillRect(0, 0, width, height);
    }
    pen.lineJoin = "round";
    paths.forEach((path, kind) => {
      const color = data.classes[kind].color;
      if (fill.checked) {
        pen.globalAlpha = 0.25;
        pen.fillStyle = color;
        pen.fill(path, "evenodd");
      }
      pen.globalAlpha = 1;
      pen.strokeStyle = color;
      pen.lineWidth = 1.6 / scale;
      pen.stroke(path);
    });
    if (chosen) {
      pen.strokeStyle = "#fff";
      pen.lineWidth = 4 / scale;
      pen.stroke(chosen.path);
      pen.strokeStyle = "#111";
      pen.lineWidth = 2 / scale;
      pen.stroke(chosen.path);
      place();
    }
    rule();
  }

  function rule() {
    const most = (140 / scale) * data.pixel_m, power = Math.pow(10, Math.floor(Math.log10(most)));
    const length = [5, 2, 1].map((step) => step * power).find((step) => step <= most);
    byId("bar").style.width = (length / data.pixel_m) * scale + "px";
    byId("length").textContent = length >= 1000 ? number(length / 1000) + " km" : number(length, 2) + " m";
  }

  function fit() {
    scale = fits = Math.min(canvas.clientWidth / width, canvas.clientHeight / height) || 1;
    x = (canvas.clientWidth - width * scale) / 2;
    y = (canvas.clientHeight - height * scale) / 2;
    draw();
  }

  function size() {
    const ratio = window.devicePixelRatio || 1, untouched = scale === fits;
    const wide = Math.round(canvas.clientWidth * ratio), high = Math.round(canvas.clientHeight * ratio);
    if (canvas.width === wide && canvas.height === high) return;
    canvas.width = wide;
    canvas.height = high;
    if (untouched) fit();
    paint(); // at once: a canvas of another size is empty
  }

  function zoom(factor, atX, atY) {
    const next = Math.min(Math.max(scale * factor, fits / 2), Math.max(fits, 1) * 40);
    x = atX - ((atX - x) * next) / scale;
    y = atY - ((atY - y) * next) / scale;
    scale = next;
    draw();
  }
  const zoomMiddle = (factor) => zoom(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);

  function choose(each) {
    chosen = each;
    hint.hidden = !each;
    if (!each) return draw();
    const parts = [data.classes[each.kind].name, metres(each.area)];
    if (each.confidence !== null) parts.push(filled(words.confidence, number(each.confidence, 2)));
    hint.textContent = parts.join(" · ");
    draw();
  }

  function place() {
    const [left, , right, bottom] = chosen.box;
    const middle = ((left + right) / 2) * scale + x - hint.offsetWidth / 2, below = bottom * scale + y + 8;
    hint.style.left = Math.min(Math.max(middle, 4), canvas.clientWidth - hint.offsetWidth - 4) + "px";
    hint.style.top = Math.min(Math.max(below, 4), canvas.clientHeight - hint.offsetHeight - 4) + "px";
  }

  function under(atX, atY) {
    const px = (atX - x) / scale, py = (atY - y) / scale;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    const hits = shown.filter(({ box, path }) =>
      px >= box[0] && px <= box[2] && py >= box[1] && py <= box[3] && pen.isPointInPath(path, px, py, "evenodd"));
    return hits.reduce((small, each) => (small && small.area <= each.area ? small : each), null);
  }

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    moved = fingers.size > 1 ? Infinity : 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const other = [...fingers.entries()].find(([id]) => id !== event.pointerId);
    if (other) {
      const far = (point) => Math.hypot(point[0] - other[1][0], point[1] - other[1][1]) || 1;
      zoom(far(now) / far(before), other[1][0], other[1][1]);
    } else {
      x += now[0] - before[0];
      y += now[1] - before[1];
      moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
      draw();
    }
    fingers.set(event.pointerId, now);
  });
  canvas.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (moved < 5) choose(under(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-Math.sign(event.deltaY) * 0.2), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    const step = steps[event.key];
    if (step) {
      x += step[0];
      y += step[1];
      draw();
    } else if (event.key === "+" || event.key === "=") zoomMiddle(1.4);
    else if (event.key === "-") zoomMiddle(1 / 1.4);
    else if (event.key === "0") fit();
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
  });
  byId("in").addEventListener("click", () => zoomMiddle(1.5));
  byId("out").addEventListener("click", () => zoomMiddle(1 / 1.5));
  byId("whole").addEventListener("click", fit);
  least.addEventListener("input", filter);
  fill.addEventListener("change", draw);
  boxes.forEach((box) => box.addEventListener("change", filter));

  byId("save").addEventListener("click", () => {
    const collection = JSON.parse(byId("collection").textContent), wanted = new Set(shown);
    collection.features = collection.features.filter((_, index) => wanted.has(objects[index]));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(collection)], { type: "application/geo+json" }));
    link.download = data.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

  window.addEventListener("message", (event) => {
    if (window === window.parent || event.source !== window.parent) return;
    data = event.data;
    objects = data.objects.map(outlined);
    filter();
  });
  if (picture) picture.addEventListener("load", draw);
  new ResizeObserver(size).observe(canvas);
  size();
  filter();
})();
