// Where the page looks from: a camera that turns about a point with a fixed up, or one of the rig's cameras.
"use strict";

const FIELD_OF_VIEW = (35 * Math.PI) / 180; // across the smaller side of the window
const STEEPEST = (89 * Math.PI) / 180;

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const add = (a, b, scale = 1) => [a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2]];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const length = (a) => Math.hypot(...a);
const unit = (a) => a.map((value) => value / (length(a) || 1));

class Orbit {
  constructor(up, radius) {
    this.up = unit(up);
    const helper = Math.abs(this.up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
    this.east = unit(add(helper, this.up, -dot(helper, this.up)));
    this.north = cross(this.up, this.east);
    this.radius = radius;
    this.target = [0, 0, 0];
    this.reset();
  }

  reset(direction = null) {
    this.distance = (1.08 * this.radius) / Math.sin(FIELD_OF_VIEW / 2);
    this.azimuth = -0.9;
    this.elevation = 0.35;
    if (direction) this.lookFrom(direction);
  }

  // Turn so that the eye lies in a direction from the target.
  lookFrom(direction) {
    const d = unit(direction);
    this.elevation = Math.asin(Math.max(-1, Math.min(1, dot(d, this.up))));
    this.azimuth = Math.atan2(dot(d, this.north), dot(d, this.east));
    this.turn(0, 0);
  }

  turn(azimuth, elevation) {
    this.azimuth += azimuth;
    this.elevation = Math.max(-STEEPEST, Math.min(STEEPEST, this.elevation + elevation));
  }

  zoom(factor) {
    this.distance = Math.max(0.05 * this.radius, Math.min(60 * this.radius, this.distance * factor));
  }

  // Move the target with the picture by pixels of a window.
  pan(x, y, size) {
    const { turn } = this.view(size), scale = this.distance / this.focal(size);
    this.target = add(this.target, turn.slice(0, 3), -x * scale);
    this.target = add(this.target, turn.slice(3, 6), -y * scale);
  }

  focal(size) {
    return (0.5 * Math.min(...size)) / Math.tan(FIELD_OF_VIEW / 2);
  }

  // turn: rows are the camera's right, down, forward.
  view(size) {
    const flat = add(this.east.map((v) => v * Math.cos(this.azimuth)), this.north, Math.sin(this.azimuth));
    const out = add(flat.map((v) => v * Math.cos(this.elevation)), this.up, Math.sin(this.elevation));
    const forward = out.map((value) => -value), right = unit(cross(forward, this.up)), down = cross(forward, right);
    const focal = this.focal(size);
    return {
      eye: add(this.target, out, this.distance),
      turn: [...right, ...down, ...forward],
      focal: [focal, focal],
      center: size.map((side) => side / 2),
      size,
    };
  }
}

// The view of a rig's camera at its own size; `origin` is that of the splats.
function cameraView(camera, origin) {
  return {
    eye: add(camera.position, origin, -1),
    turn: camera.turn.flat(),
    focal: camera.focal,
    center: camera.center,
    size: camera.size,
  };
}

// The same view in the middle of a window, as large as fits, with where its picture lies: x, y, width, height.
function fitted(view, size) {
  const scale = Math.min(size[0] / view.size[0], size[1] / view.size[1]);
  const shift = [0, 1].map((axis) => (size[axis] - scale * view.size[axis]) / 2);
  return {
    view: {
      ...view,
      focal: view.focal.map((value) => value * scale),
      center: view.center.map((value, axis) => value * scale + shift[axis]),
      size,
    },
    box: [...shift, scale * view.size[0], scale * view.size[1]],
  };
}

// Square pixels of blur: that of the model's own pixels, where these are larger than those of the view.
function blurOf(view, grain, origin) {
  if (!grain) return 0.3;
  const far = length(add(view.eye, add(grain.center, origin, -1), -1));
  const ratio = (view.focal[0] + view.focal[1]) / 2 / far / grain.density;
  return grain.eps2d * Math.max(1, ratio) ** 2;
}

function projected(point, view) {
  const offset = add(point, view.eye, -1), p = [0, 3, 6].map((row) => dot(view.turn.slice(row, row + 3), offset));
  if (p[2] <= 0) return null;
  return [0, 1].map((axis) => (view.focal[axis] * p[axis]) / p[2] + view.center[axis]);
}
