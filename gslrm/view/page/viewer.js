// The page: moments in time, cameras, models, and what hands and keys do.
"use strict";

const BESIDE = 0.35; // radians from the first camera, which would stand in the way
const KEPT_SPLATS = 4e6; // decoded splats held in memory, 80 bytes each
const KEYS = {
  ArrowLeft: () => page.turn(-0.12, 0), ArrowRight: () => page.turn(0.12, 0),
  ArrowUp: () => page.turn(0, 0.12), ArrowDown: () => page.turn(0, -0.12),
  "+": () => page.zoom(0.87), "=": () => page.zoom(0.87), "-": () => page.zoom(1.15),
  " ": () => page.play(!page.playing), ".": () => page.step(1), ",": () => page.step(-1),
  "]": () => page.next(1), "[": () => page.next(-1), o: () => page.tick("photo"),
  e: () => page.tick("errors"), c: () => page.tick("cameras"), p: () => page.tick("pictures"), r: () => page.tick("spin"), f: () => page.tick("follow"),
  m: () => page.model(1), b: () => page.nextPaper(), s: () => page.save(), 0: () => page.reset(), Home: () => page.reset(),
  a: () => page.whole(), h: () => page.help(), "?": () => page.help(), Escape: () => page.help(false),
};

class Page {
  constructor(scene, canvas) {
    this.scene = scene;
    this.canvas = canvas;
    this.renderer = new Renderer(canvas);
    this.renderer.onsorted = () => this.refresh();
    this.origin = scene.center;
    this.orbit = new Orbit(scene.up, scene.radius);
    this.decoded = new Map();
    this.images = new Map();
    this.now = { model: 0, frame: 0, camera: null };
    this.playing = false;
    this.problem = null;
    this.number = 0;
    this.bind();
    this.reset();
    this.ready = this.show(0);
  }

  get frames() { return this.scene.models[this.now.model].frames; }
  get frame() { return this.frames[this.now.frame]; }
  get cameras() { return this.scene.rigs[this.frame.rig] || []; }
  setting(name) { const input = $(name); return input.type === "checkbox" ? input.checked : Number(input.value); }

  async splats(model, frame) {
    const key = `${model}-${frame}`;
    if (!this.decoded.has(key)) {
      const { header } = this.scene.models[model].frames[frame];
      const work = inflate($(`splats-${key}`).textContent).then((bytes) => {
        const splats = decode(header, bytes, this.origin);
        splats.number = this.number++;
        return splats;
      });
      this.decoded.set(key, work);
      let held = 0;
      for (const old of [...this.decoded.keys()].reverse()) {
        const [oldModel, oldFrame] = old.split("-").map(Number);
        held += this.scene.models[oldModel].frames[oldFrame].header.count;
        if (held > KEPT_SPLATS && old !== key) this.decoded.delete(old);
      }
    }
    return this.decoded.get(key);
  }

  // Show a moment of the present model, or of another.
  async show(frame, model = this.now.model) {
    const count = this.scene.models[model].frames.length;
    const wanted = ((frame % count) + count) % count, ticket = (this.ticket = {});
    const splats = await this.splats(model, wanted);
    if (ticket !== this.ticket) return;
    const before = this.frame.center;
    Object.assign(this.now, { frame: wanted, model });
    if (this.setting("follow")) this.orbit.target = add(this.orbit.target, add(this.frame.center, before, -1));
    this.renderer.setSplats(splats);
    this.describe();
    this.draw();
  }

  async play(on) {
    this.playing = on && this.frames.length > 1;
    $("play").textContent = this.playing ? "❚❚" : "▶";
    $("play").setAttribute("aria-label", this.playing ? "pause" : "play");
    const run = (this.run = {});
    let due = performance.now();
    while (this.playing && this.run === run) {
      await this.show(this.now.frame + 1);
      this.splats(this.now.model, (this.now.frame + 1) % this.frames.length);
      due = Math.max(due + 1000 / this.setting("speed"), performance.now());
      await new Promise((done) => setTimeout(done, due - performance.now()));
    }
  }

  step(by) { this.play(false); return this.show(this.now.frame + by); }
  model(by) {
    const count = this.scene.models.length;
    const model = (this.now.model + by + count) % count;
    return this.show(Math.min(this.now.frame, this.scene.models[model].frames.length - 1), model);
  }

  // Look through a camera, by number; null leaves it.
  snap(camera) {
    this.now.camera = camera;
    $("photo").disabled = $("errors").disabled = camera === null;
    this.describe();
    this.refresh();
  }
  next(by) {
    const count = this.cameras.length, at = this.now.camera;
    if (count) this.snap(at === null ? (by > 0 ? 0 : count - 1) : (at + by + count) % count);
  }
  leave() {
    if (this.now.camera === null) return;
    const eye = add(this.cameras[this.now.camera].position, this.origin, -1);
    const out = add(eye, this.orbit.target, -1);
    this.orbit.lookFrom(out);
    this.orbit.zoom(length(out) / this.orbit.distance);
    this.snap(null);
  }

  turn(azimuth, elevation) { this.leave(); this.orbit.turn(azimuth, elevation); this.refresh(); }
  zoom(factor) { this.leave(); this.orbit.zoom(factor); this.refresh(); }
  pan(x, y) { this.leave(); this.orbit.pan(x, y, this.size()); this.refresh(); }
  reset() {
    this.orbit.target = add(this.frame.center, this.origin, -1);
    this.orbit.reset(this.scene.start);
    this.orbit.turn(BESIDE, 0);
    this.snap(null);
  }

  // Step back until all cameras are seen.
  whole() {
    const far = this.cameras.map((camera) => length(add(camera.position, this.frame.center, -1)));
    this.reset();
    this.orbit.zoom((1.15 * Math.max(this.scene.radius, ...far)) / Math.sin(FIELD_OF_VIEW / 2) / this.orbit.distance);
    this.refresh();
  }

  // Whether the difference to the photograph is shown; it was taken on white.
  get comparing() {
    const { camera } = this.now;
    return camera !== null && this.setting("errors") && Boolean(this.scene.pictures[this.frame.pictures[camera]]);
  }
  size() { return [this.canvas.width, this.canvas.height]; }
  view() {
    if (this.now.camera === null) return { view: this.orbit.view(this.size()), box: null };
    return fitted(cameraView(this.cameras[this.now.camera], this.origin), this.size());
  }
  look(view) {
    const share = this.setting("crop"), { radius } = this.scene;
    return {
      blur: blurOf(view, this.frame.grain, this.origin),
      near: 0.02 * radius,
      faintest: this.setting("opacity"),
      widen: this.setting("splat"),
      cropCenter: add(this.frame.center, this.origin, -1),
      cropHalf: share >= Number($("crop").max) ? 1e30 : share * radius,
    };
  }
  paper() {
    const kind = this.comparing ? "white" : $("paper").value;
    if (kind !== "page") return kind === "white" ? [1, 1, 1] : [0, 0, 0];
    const shown = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g);
    return shown.slice(0, 3).map((value) => Number(value) / 255);
  }

  refresh() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.draw(); });
  }

  draw() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2), { clientWidth, clientHeight } = this.canvas;
    const wanted = [Math.max(1, Math.round(clientWidth * ratio)), Math.max(1, Math.round(clientHeight * ratio))];
    if (wanted[0] !== this.canvas.width || wanted[1] !== this.canvas.height) {
      [this.canvas.width, this.canvas.height] = wanted;
    }
    const { view, box } = this.view(), items = box ? [] : this.frusta();
    const depth = (point) => dot(add(point, view.eye, -1), view.turn.slice(6));
    const middle = depth(this.orbit.target);
    items.sort((a, b) => depth(b.position) - depth(a.position));
    this.renderer.draw(view, this.look(view), {
      paper: this.paper(),
      behind: items.filter((item) => depth(item.position) >= middle),
      front: items.filter((item) => depth(item.position) < middle).map((item) => ({ ...item, texture: null })),
    });
    this.overlay(view, box, items, ratio);
    this.drawn = (this.drawn || 0) + 1;
  }

  frusta() {
    if (!this.setting("cameras")) return [];
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    return this.cameras.map((camera, index) => {
      const position = add(camera.position, this.origin, -1);
      const corners = camera.corners.map((corner) => add(corner, this.origin, -1));
      const lines = corners.flatMap((corner, i) => [[position, corner], [corner, corners[(i + 1) % 4]]]);
      const colour = getComputedStyle(document.body).getPropertyValue(camera.input ? "--input" : "--held-out").trim();
      const paint = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
      const texture = this.setting("pictures") ? this.pictureOf(index) : null;
      return { index, position, corners, lines, texture, paint: [...paint, 1], width: 1.6 * ratio, strength: 0.9 };
    });
  }

  // The texture of a camera's picture; drawn once the picture is decoded.
  pictureOf(index) {
    const source = this.frame.pictures[index];
    if (source === null || source === undefined) return null;
    if (!this.images.has(source)) {
      const image = new Image(), entry = { image, texture: null };
      this.images.set(source, entry);
      image.onload = () => { entry.texture = this.renderer.pictureTexture(image); this.refresh(); };
      image.src = this.scene.pictures[source];
    }
    return this.images.get(source).texture;
  }

  // What is not drawn by the graphics card: names beside cameras, the photograph over its camera's view.
  overlay(view, box, items, ratio) {
    const labels = $("labels");
    while (labels.children.length > items.length) labels.lastChild.remove();
    while (labels.children.length < items.length) labels.append(document.createElement("span"));
    items.forEach((item, i) => {
      const at = projected(item.position, view), label = labels.children[i];
      label.hidden = !at;
      label.textContent = this.cameras[item.index].name;
      if (at) label.style.transform = `translate(${at[0] / ratio + 6}px, ${at[1] / ratio - 16}px)`;
    });
    $("stage").classList.toggle("errors", this.comparing);
    const photo = $("overlay"), source = box && this.frame.pictures[this.now.camera];
    photo.hidden = source === null || source === undefined;
    if (photo.hidden) return;
    if (photo.dataset.source !== String(source)) {
      photo.src = this.scene.pictures[source];
      photo.dataset.source = String(source);
    }
    photo.style.opacity = this.comparing ? 1 : this.setting("photo");
    const [left, top, width, height] = box.map((value) => `${value / ratio}px`);
    Object.assign(photo.style, { left, top, width, height });
  }

  describe() {
    const { model, frame, camera } = this.now, moment = this.frame, count = this.frames.length;
    const place = count > 1 ? [`${frame + 1} of ${count}`, `${moment.time.toFixed(2)} s`] : [];
    const splats = `${moment.header.count.toLocaleString("en")} Gaussians`;
    $("about").textContent = [moment.name, ...place, splats].join(" · ");
    const shown = camera === null ? null : this.cameras[camera];
    $("where").textContent = shown ? `${shown.name}: ${shown.input ? "input" : "not input"}` : "free view";
    $("time").max = count - 1;
    $("speed-told").textContent = this.setting("speed");
    $("time").value = frame;
    $("time").setAttribute("aria-valuetext", moment.name);
    document.querySelectorAll("[data-model]").forEach((button) => {
      button.setAttribute("aria-pressed", String(Number(button.dataset.model) === model));
    });
    this.strip();
  }

  // Cameras of this moment as buttons.
  strip() {
    const strip = $("strip"), key = `${this.now.model}-${this.now.frame}`;
    if (strip.dataset.shown !== key) {
      strip.dataset.shown = key;
      strip.replaceChildren(...this.cameras.map((camera, index) => {
        const button = document.createElement("button"), source = this.frame.pictures[index];
        button.type = "button";
        button.className = camera.input ? "input" : "held-out";
        button.title = `look through ${camera.name}`;
        if (source !== null && source !== undefined) {
          const image = new Image();
          image.src = this.scene.pictures[source];
          image.alt = "";
          button.append(image);
        }
        button.append(Object.assign(document.createElement("span"), { textContent: camera.name }));
        button.onclick = () => this.snap(this.now.camera === index ? null : index);
        return button;
      }));
    }
    [...strip.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === this.now.camera)));
  }

  tick(name) {
    const input = $(name);
    if (input.disabled) return;
    if (input.type === "checkbox") input.checked = !input.checked;
    else input.value = Number(input.value) > 0 ? 0 : 1;
    input.dispatchEvent(new Event("input"));
  }
  nextPaper() {
    const select = $("paper");
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
    this.refresh();
  }
  help(open = !$("help").open) { if (open) $("help").showModal(); else $("help").close(); }
  save() {
    this.draw();
    this.canvas.toBlob((blob) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob) });
      link.download = `${this.scene.title}_${this.frame.name}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  // RGBA bytes of one camera's view, for tests.
  pixels(camera, paper = [1, 1, 1]) {
    const view = cameraView(this.cameras[camera], this.origin);
    return this.renderer.pixels(view, this.look(view), paper);
  }
}
