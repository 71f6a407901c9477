// Packed Gaussians (gslrm/view/packing.py) to what a graphics card draws, and their order from back to front.
"use strict";

const PER_ROW = 512; // splats per row of the texture, four texels each; every WebGL 2 has rows of 2048
const TEXELS = 4;
const BUCKETS = 65536;
const BY_WORKER = 200000; // splats from which sorting is left to a worker; below it takes a few milliseconds

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Texels of a splat: centre and opacity; covariance xx xy xz yy; yz zz and red, green; blue. Centres are relative to
// `origin`, because single precision is about the origin's distance.
function decode(header, bytes, origin) {
  const { count, low, step, scales, brightest } = header;
  const rows = Math.max(1, Math.ceil(count / PER_ROW));
  const texels = new Float32Array(rows * PER_ROW * TEXELS * 4);
  const centers = new Float32Array(3 * count);
  const plane = (index) => bytes.subarray(index * count, (index + 1) * count);
  const planes = Array.from({ length: 17 }, (_, index) => plane(index));
  const position = [0, 0, 0], quaternion = [0, 0, 0, 0], variance = [0, 0, 0];
  const logStep = (scales[1] - scales[0]) / 255;
  for (let i = 0, at = 0; i < count; i++, at += 4 * TEXELS) {
    for (let axis = 0; axis < 3; axis++) {
      const signed = planes[2 * axis][i] | (planes[2 * axis + 1][i] << 8);
      position[axis] += signed & 1 ? -((signed + 1) >> 1) : signed >> 1;
      const center = low[axis] + step * position[axis] - origin[axis];
      centers[3 * i + axis] = texels[at + axis] = center;
      variance[axis] = Math.exp(2 * (scales[0] + logStep * planes[6 + axis][i]));
    }
    const word = planes[9][i] | (planes[10][i] << 8) | (planes[11][i] << 16) | (planes[12][i] << 24);
    readQuaternion(word >>> 0, quaternion);
    texels[at + 3] = planes[16][i] / 255;
    writeCovariance(texels, at + 4, quaternion, variance);
    for (let channel = 0; channel < 3; channel++) {
      texels[at + 10 + channel] = (planes[13 + channel][i] / 255) * brightest;
    }
  }
  return { count, rows, texels, centers };
}

function readQuaternion(word, quaternion) {
  const largest = word >>> 30;
  let rest = 1;
  for (let place = 0; place < 3; place++) {
    const component = (((word >>> (10 * place)) & 1023) / 1023 - 0.5) * Math.SQRT2;
    quaternion[(largest + 1 + place) % 4] = component;
    rest -= component * component;
  }
  quaternion[largest] = Math.sqrt(Math.max(0, rest));
}

// The upper triangle of R diag(variance) R^T, R from the quaternion wxyz.
function writeCovariance(target, at, [w, x, y, z], [a, b, c]) {
  const r = [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
  let next = at;
  for (let row = 0; row < 3; row++) {
    for (let column = row; column < 3; column++) {
      const p = 3 * row, q = 3 * column;
      target[next++] = a * r[p] * r[q] + b * r[p + 1] * r[q + 1] + c * r[p + 2] * r[q + 2];
    }
  }
}

// Indices of splats from the farthest to the nearest along `forward`: a counting sort over 65,536 slices of depth.
function sortBackToFront(centers, forward, BUCKETS) {
  const count = centers.length / 3;
  const depths = new Float32Array(count);
  let near = Infinity, far = -Infinity;
  for (let i = 0; i < count; i++) {
    const depth = forward[0] * centers[3 * i] + forward[1] * centers[3 * i + 1] + forward[2] * centers[3 * i + 2];
    depths[i] = depth;
    if (depth < near) near = depth;
    if (depth > far) far = depth;
  }
  const scale = (BUCKETS - 1) / Math.max(far - near, 1e-30);
  const keys = new Uint16Array(count), starts = new Uint32Array(BUCKETS + 1);
  for (let i = 0; i < count; i++) {
    keys[i] = (far - depths[i]) * scale;
    starts[keys[i] + 1]++;
  }
  for (let bucket = 0; bucket < BUCKETS; bucket++) starts[bucket + 1] += starts[bucket];
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[starts[keys[i]]++] = i;
  return order;
}

// Sorts many splats beside the page's own thread; `deliver` gets the newest order, requests in between are skipped.
class Sorter {
  constructor(deliver) {
    this.deliver = deliver;
    this.busy = false;
    this.waiting = null;
    const source = `${sortBackToFront}
      let centers = new Float32Array(0);
      onmessage = ({ data }) => {
        if (data.centers) centers = data.centers;
        const order = sortBackToFront(centers, data.forward, ${BUCKETS});
        postMessage({ order, set: data.set }, [order.buffer]);
      };`;
    this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    this.worker.onmessage = ({ data }) => {
      this.busy = false;
      this.deliver(data.order, data.set);
      if (this.waiting) this.request(...this.waiting);
    };
    this.sent = null;
  }

  request(splats, forward) {
    if (this.busy) {
      this.waiting = [splats, forward];
      return;
    }
    this.waiting = null;
    this.busy = true;
    const centers = this.sent === splats ? null : splats.centers;
    this.sent = splats;
    this.worker.postMessage({ centers, forward, set: splats.number });
  }
}
