// Programs of the graphics card: splats as in docs/rasterizer.md, cameras as lines and pictures, the final picture.
"use strict";

const PROJECT = `
uniform mat3 turn; uniform vec3 eye; uniform vec4 lens; uniform vec2 size;
vec3 toCamera(vec3 point) { return turn * (point - eye); }
vec4 toClip(vec3 p) {
  vec2 ndc = 2.0 * (lens.xy * p.xy + lens.zw * p.z) / size - p.z;
  return vec4(ndc.x, -ndc.y, 0.0, p.z);
}`;

const SPLAT_VERTEX = `#version 300 es
precision highp float; precision highp int; precision highp sampler2D;
uniform sampler2D texels;
uniform float blur, near, faintest, widen;
uniform vec3 cropCenter; uniform float cropHalf;
${PROJECT}
layout(location = 0) in uint index;
out vec2 deviation; out vec4 colour;
const float DRAWN = 1.0 / 255.0;
void main() {
  ivec2 at = ivec2((int(index) % ${PER_ROW}) * ${TEXELS}, int(index) / ${PER_ROW});
  vec4 first = texelFetch(texels, at, 0), second = texelFetch(texels, at + ivec2(1, 0), 0);
  vec4 third = texelFetch(texels, at + ivec2(2, 0), 0);
  float blue = texelFetch(texels, at + ivec2(3, 0), 0).x, opacity = first.w;
  vec3 p = toCamera(first.xyz);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  vec3 offset = abs(first.xyz - cropCenter);
  if (p.z < near || opacity < max(DRAWN, faintest) || max(offset.x, max(offset.y, offset.z)) > cropHalf) return;

  // The projection, linearised at the centre; slopes are frozen 15 % beyond the picture.
  vec2 margin = 0.15 * size / lens.xy;
  vec2 slope = clamp(p.xy / p.z, -lens.zw / lens.xy - margin, (size - lens.zw) / lens.xy + margin);
  vec3 jx = vec3(lens.x / p.z, 0.0, -lens.x * slope.x / p.z), jy = vec3(0.0, lens.y / p.z, -lens.y * slope.y / p.z);
  mat3 world = mat3(second.x, second.y, second.z, second.y, second.w, third.x, second.z, third.x, third.y);
  vec3 wx = jx * turn, wy = jy * turn;
  float grow = widen * widen;
  float xx = grow * dot(wx, world * wx) + blur, yy = grow * dot(wy, world * wy) + blur;
  float xy = grow * dot(wx, world * wy);

  // A quad along the axes of the ellipse, out to where the splat falls below one grey level.
  float middle = 0.5 * (xx + yy), apart = length(vec2(0.5 * (xx - yy), xy));
  float large = middle + apart, small = max(middle - apart, 0.0);
  vec2 axis = abs(xy) > 1e-9 * large ? normalize(vec2(xy, large - xx)) : (xx >= yy ? vec2(1, 0) : vec2(0, 1));
  float reach = sqrt(2.0 * log(255.0 * opacity));
  vec2 corner = reach * vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - reach;
  vec2 shift = axis * corner.x * sqrt(large) + vec2(-axis.y, axis.x) * corner.y * sqrt(small);
  vec2 pixel = lens.xy * p.xy / p.z + lens.zw + shift;
  vec2 ndc = 2.0 * pixel / size - 1.0;
  gl_Position = vec4(ndc.x, -ndc.y, 0.0, 1.0);
  deviation = corner;
  colour = vec4(third.zw, blue, opacity);
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
uniform float maxAlpha;
in vec2 deviation; in vec4 colour;
out vec4 blended;
void main() {
  float alpha = min(maxAlpha, colour.w * exp(-0.5 * dot(deviation, deviation)));
  if (alpha < 1.0 / 255.0) discard;
  blended = vec4(colour.rgb * alpha, alpha);
}`;

const SCREEN_VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

const SCREEN_FRAGMENT = `#version 300 es
precision highp float; precision highp sampler2D;
uniform sampler2D splats;
out vec4 blended;
void main() { blended = clamp(texelFetch(splats, ivec2(gl_FragCoord.xy), 0), 0.0, 1.0); }`;

const LINE_VERTEX = `#version 300 es
precision highp float;
${PROJECT}
uniform float width, near;
layout(location = 0) in vec3 start; layout(location = 1) in vec3 end;
void main() {
  vec3 a = toCamera(start), b = toCamera(end);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  if (max(a.z, b.z) < near) return;
  if (a.z < near) a = mix(b, a, (b.z - near) / (b.z - a.z));
  if (b.z < near) b = mix(a, b, (a.z - near) / (a.z - b.z));
  vec4 from = toClip(a), to = toClip(b);
  vec2 along = (to.xy / to.w - from.xy / from.w) * size;
  vec2 across = length(along) > 1e-6 ? normalize(vec2(-along.y, along.x)) : vec2(1, 0);
  vec4 at = gl_VertexID < 2 ? from : to;
  gl_Position = vec4(at.xy / at.w + across * width * (float(gl_VertexID & 1) * 2.0 - 1.0) / size, 0.0, 1.0);
}`;

const LINE_FRAGMENT = `#version 300 es
precision highp float;
uniform vec4 paint;
out vec4 blended;
void main() { blended = vec4(paint.rgb * paint.a, paint.a); }`;

const PICTURE_VERTEX = `#version 300 es
precision highp float;
${PROJECT}
layout(location = 0) in vec3 corner; layout(location = 1) in vec2 place;
out vec2 seen;
void main() { gl_Position = toClip(toCamera(corner)); seen = place; }`;

const PICTURE_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D picture; uniform float strength;
in vec2 seen;
out vec4 blended;
void main() { blended = vec4(texture(picture, seen).rgb * strength, strength); }`;
