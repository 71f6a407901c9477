// Draws splats and cameras with WebGL 2. Splats are blended in half precision, so that many faint ones do not round.
"use strict";

const MAX_ALPHA = 0.999;

class Renderer {
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: true, alpha: false, powerPreference: "high-performance" });
    if (!gl) throw new Error("no WebGL 2");
    this.gl = gl;
    this.fine = gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float");
    this.programs = {
      splats: this.program(SPLAT_VERTEX, SPLAT_FRAGMENT),
      screen: this.program(SCREEN_VERTEX, SCREEN_FRAGMENT),
      lines: this.program(LINE_VERTEX, LINE_FRAGMENT),
      picture: this.program(PICTURE_VERTEX, PICTURE_FRAGMENT),
    };
    this.order = this.arrays([[0, 1, gl.UNSIGNED_INT]], 1);
    this.segments = this.arrays([[0, 3, gl.FLOAT], [1, 3, gl.FLOAT]], 1);
    this.corners = this.arrays([[0, 3, gl.FLOAT], [1, 2, gl.FLOAT]], 0);
    this.nothing = gl.createVertexArray();
    this.texels = this.texture(gl.NEAREST);
    this.blended = this.texture(gl.NEAREST);
    this.target = gl.createFramebuffer();
    this.targetSize = [0, 0];
    this.splats = null;
    this.sorted = { splats: null, forward: null };
    this.sorter = null;
    this.byWorker = BY_WORKER;
    this.onsorted = () => {};
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const places = {};
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(program, i);
      places[name] = gl.getUniformLocation(program, name);
    }
    return { program, places };
  }

  // A buffer of interleaved attributes: [location, components, type].
  arrays(attributes, divisor) {
    const gl = this.gl, array = gl.createVertexArray(), buffer = gl.createBuffer();
    const stride = 4 * attributes.reduce((sum, [, components]) => sum + components, 0);
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    let offset = 0;
    for (const [location, components, type] of attributes) {
      gl.enableVertexAttribArray(location);
      if (type === gl.UNSIGNED_INT) gl.vertexAttribIPointer(location, components, type, stride, offset);
      else gl.vertexAttribPointer(location, components, type, false, stride, offset);
      gl.vertexAttribDivisor(location, divisor);
      offset += 4 * components;
    }
    return { array, buffer };
  }

  texture(filter) {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const name of ["TEXTURE_MIN_FILTER", "TEXTURE_MAG_FILTER"]) gl.texParameteri(gl.TEXTURE_2D, gl[name], filter);
    for (const name of ["TEXTURE_WRAP_S", "TEXTURE_WRAP_T"]) gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.CLAMP_TO_EDGE);
    return texture;
  }

  setSplats(splats) {
    const gl = this.gl;
    if (this.splats === splats) return;
    this.splats = splats;
    gl.bindTexture(gl.TEXTURE_2D, this.texels);
    const width = PER_ROW * TEXELS;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, width, splats.rows, 0, gl.RGBA, gl.FLOAT, splats.texels);
  }

  setOrder(order, splats, forward) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
    this.sorted = { splats, forward };
  }

  sort(forward, exact) {
    const { splats, sorted } = this, old = sorted.forward;
    const same = sorted.splats === splats && old && forward.every((value, axis) => Math.abs(value - old[axis]) < 1e-6);
    if (same) return;
    if (exact || splats.count < this.byWorker || sorted.splats !== splats) {
      this.setOrder(sortBackToFront(splats.centers, forward, BUCKETS), splats, forward);
      return;
    }
    this.sorter = this.sorter || new Sorter((order, number) => {
      if (this.splats.number !== number) return;
      this.setOrder(order, this.splats, this.asked);
      this.onsorted();
    });
    this.asked = forward;
    this.sorter.request(splats, forward);
  }

  use({ program, places }, view, values) {
    const gl = this.gl;
    gl.useProgram(program);
    gl.uniformMatrix3fv(places.turn, true, view.turn);
    gl.uniform3fv(places.eye, view.eye);
    gl.uniform4f(places.lens, ...view.focal, ...view.center);
    gl.uniform2f(places.size, ...view.size);
    for (const [name, value] of Object.entries(values)) {
      if (!(name in places)) continue;
      if (typeof value === "number") gl.uniform1f(places[name], value);
      else gl[`uniform${value.length}fv`](places[name], value);
    }
  }

  // The splats of a view, blended over nothing, into a texture.
  blend(view, look, exact) {
    const gl = this.gl, [width, height] = view.size;
    if (this.targetSize[0] !== width || this.targetSize[1] !== height) {
      gl.bindTexture(gl.TEXTURE_2D, this.blended);
      const kinds = this.fine ? [gl.RGBA16F, gl.HALF_FLOAT] : [gl.RGBA8, gl.UNSIGNED_BYTE];
      gl.texImage2D(gl.TEXTURE_2D, 0, kinds[0], width, height, 0, gl.RGBA, kinds[1], null);
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.blended, 0);
      this.targetSize = [width, height];
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.splats || !this.splats.count) return;
    this.sort([view.turn[6], view.turn[7], view.turn[8]], exact);
    this.use(this.programs.splats, view, { maxAlpha: MAX_ALPHA, ...look });
    gl.bindTexture(gl.TEXTURE_2D, this.texels);
    gl.bindVertexArray(this.order.array);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.splats.count);
  }

  // The whole picture on `output` (null for the canvas): paper, what is behind, the splats, what is in front.
  draw(view, look, { paper, behind = [], front = [], output = null, exact = false }) {
    const gl = this.gl;
    this.blend(view, look, exact);
    gl.bindFramebuffer(gl.FRAMEBUFFER, output);
    gl.viewport(0, 0, ...view.size);
    gl.clearColor(...paper, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    behind.forEach((item) => this.drawCamera(view, look, item));
    gl.useProgram(this.programs.screen.program);
    gl.bindTexture(gl.TEXTURE_2D, this.blended);
    gl.bindVertexArray(this.nothing);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    front.forEach((item) => this.drawCamera(view, look, item));
  }

  // A frustum: `lines` of [start, end] pairs, and the picture of the camera between four `corners`, if there is one.
  drawCamera(view, look, { lines, corners, texture, strength, paint, width }) {
    const gl = this.gl;
    if (texture) {
      this.use(this.programs.picture, view, { strength });
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.bindVertexArray(this.corners.array);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.corners.buffer);
      const places = [[0, 0], [1, 0], [0, 1], [1, 1]], strip = [corners[0], corners[1], corners[3], corners[2]];
      const data = new Float32Array(strip.flatMap((corner, i) => [...corner, ...places[i]]));
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STREAM_DRAW);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    this.use(this.programs.lines, view, { paint, width, near: look.near });
    gl.bindVertexArray(this.segments.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.segments.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(lines.flat(2)), gl.STREAM_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, lines.length);
  }

  // RGBA bytes of a view, top row first, without cameras.
  pixels(view, look, paper) {
    const gl = this.gl, [width, height] = view.size;
    const texture = this.texture(gl.NEAREST), output = gl.createFramebuffer();
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    gl.bindFramebuffer(gl.FRAMEBUFFER, output);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    this.draw(view, look, { paper, output, exact: true });
    const upward = new Uint8Array(4 * width * height), bytes = new Uint8Array(4 * width * height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, output);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, upward);
    for (let row = 0; row < height; row++) {
      bytes.set(upward.subarray(4 * width * (height - 1 - row), 4 * width * (height - row)), 4 * width * row);
    }
    gl.deleteFramebuffer(output);
    gl.deleteTexture(texture);
    return bytes;
  }

  pictureTexture(image) {
    const gl = this.gl, texture = this.texture(gl.LINEAR);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    return texture;
  }
}
