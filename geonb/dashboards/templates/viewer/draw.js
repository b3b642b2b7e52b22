// How the map is drawn, onto its canvas or into a picture: `pen` is a canvas's 2D context.
const FONT = "11px system-ui, sans-serif"
const drawMap = (viewer, pen, whole, k, top = 0) => { // k: px of the canvas a px; the map begins `top` below its upper side
  pen.setTransform(k, 0, 0, k, 0, 0)
  pen.fillStyle = "#fff"
  pen.fillRect(0, 0, ...whole)
  pen.translate(0, top)
  clipped(pen, MARGIN.left, 0, ...viewer.map.inside(), () => {
    drawGround(viewer, pen)
    if (viewer.drawn) drawPlanes(viewer, pen)
    drawTiles(viewer, pen)
    drawMark(viewer, pen)
    drawRegion(viewer, pen)
    drawScaleBar(viewer, pen)
    drawRows(viewer, pen)
  })
  drawAxes(viewer, pen)
}
const clipped = (pen, x, y, wide, high, draw) => {
  pen.save()
  pen.beginPath()
  pen.rect(x, y, wide, high)
  pen.clip()
  draw()
  pen.restore()
}
const path = (pen, points, closed = false) => { // of px
  pen.beginPath()
  points.forEach((p, i) => pen[i ? "lineTo" : "moveTo"](...p))
  if (closed) pen.closePath()
}
const trace = ({ map }, pen, line, closed) => path(pen, line.map((p) => map.toScreen(...p)), closed)
const stroked = (pen, colour, width, draw, dashes = []) => {
  Object.assign(pen, { strokeStyle: colour, lineWidth: width })
  pen.setLineDash(dashes)
  draw()
  pen.setLineDash([])
}
const screenBox = ({ map }, [w, s, e, n]) => {
  const [[x0, y0], [x1, y1]] = [map.toScreen(w, n), map.toScreen(e, s)]
  return [x0, y0, x1 - x0, y1 - y0]
}
const frameBox = (viewer, pen, box, inset = 0) => {
  const [x, y, wide, high] = screenBox(viewer, box)
  pen.strokeRect(x + wide * inset, y + high * inset, wide * (1 - 2 * inset), high * (1 - 2 * inset))
}
const badge = (pen, x, y, words, align) => {
  Object.assign(pen, { font: "600 12px system-ui, sans-serif", textAlign: align, fillStyle: "rgba(255,255,255,.85)" })
  const wide = pen.measureText(words).width + 8
  pen.fillRect(x + { left: -4, center: -wide / 2, right: 4 - wide }[align], y - 12, wide, 17)
  pen.fillStyle = "#111"
  pen.fillText(words, x, y)
}

// ---- what there is ----
const drawGround = (viewer, pen) => {
  const { facts } = viewer
  pen.fillStyle = facts.ground
  pen.fillRect(MARGIN.left, 0, ...viewer.map.inside())
  if (!facts.land) return
  pen.fillStyle = facts.land
  for (const ring of viewer.place().lines.land ?? []) {
    trace(viewer, pen, ring)
    pen.fill()
  }
}
const drawPlanes = (viewer, pen) => {
  const { state, drawn, map } = viewer
  const [[a, b], cut, swiped] = [map.inside(), map.cut(), drawn.other && state.compare === "swipe"]
  if (drawn.below) lay(viewer, pen, drawn.below, 1)
  if (swiped) {
    clipped(pen, MARGIN.left, 0, cut - MARGIN.left, b, () => layTop(viewer, pen, drawn.top))
    clipped(pen, cut, 0, MARGIN.left + a - cut, b, () => layTop(viewer, pen, drawn.other))
  } else layTop(viewer, pen, drawn.top)
  drawLines(viewer, pen)
  drawOutlines(viewer, pen)
  if (!swiped) return
  path(pen, [[cut, 0], [cut, b]])
  for (const look of [["#fff", 4], ["#111", 1.5]]) stroked(pen, ...look, () => pen.stroke())
  badge(pen, cut - 6, 16, sideName(viewer), "right")
  badge(pen, cut + 6, 16, sideName(viewer, state.other), "left")
}
const layTop = (viewer, pen, plane) => {
  if (!plane) return
  const veil = viewer.facts.veil.length ? viewer.facts.veil[0] : null
  if (veil) { // what lies beyond the data has nothing either
    pen.fillStyle = `${veil}73`
    pen.beginPath()
    pen.rect(0, 0, ...viewer.map.size())
    pen.rect(...screenBox(viewer, plane.box))
    pen.fill("evenodd")
  }
  lay(viewer, pen, plane, viewer.state.opacity, viewer.hidesBelow(plane.layer) ? viewer.threshold() : 0, veil)
}
const lay = (viewer, pen, plane, opacity, least, veil) => {
  const picture = painted(plane, least, veil)
  if (!picture) return
  const box = screenBox(viewer, plane.box)
  pen.globalAlpha = opacity
  pen.imageSmoothingEnabled = Boolean(plane.image) && box[2] < 2 * picture.width
  pen.drawImage(picture, ...box)
  pen.globalAlpha = 1
}
const drawLines = (viewer, pen) => {
  const { land } = viewer.facts
  const colours = land ? { coast: "#5b6b78", borders: "#8d7b68" } : { coast: "#ffe08a", borders: "#c9b48a" }
  for (const [name, colour] of Object.entries(colours)) for (const line of viewer.place().lines[name] ?? []) {
    trace(viewer, pen, line)
    stroked(pen, colour, 1.2, () => pen.stroke())
  }
}
const drawOutlines = (viewer, pen) => {
  const { facts, state, drawn: { marks } } = viewer
  if (marks && state.outlined) stroked(pen, "#000", 1, () => marks.codes.forEach((v, i) => {
    if (v === 1) frameBox(viewer, pen, cellBox(marks, i), 0.08)
  }))
  for (const set of facts.outlines ?? []) if (set.shown !== false && set.place === state.place) {
    stroked(pen, set.colour, 1.6, () => set.boxes.forEach((box) => frameBox(viewer, pen, box)))
  }
}

// ---- what is chosen ----
const drawTiles = (viewer, pen) => {
  for (const { box, colour, words, elsewhere } of tilesHere(viewer)) {
    stroked(pen, "#fff", 5, () => frameBox(viewer, pen, box))
    stroked(pen, colour, 2.5, () => frameBox(viewer, pen, box), elsewhere ? [6, 4] : [])
    const [x, y] = viewer.map.toScreen(...middleOf(box))
    if (words) badge(pen, x, y + 5, words, "center")
  }
}
const drawMark = ({ state, map }, pen) => {
  if (!state.chosen || state.like) return
  const [x, y] = map.toScreen(state.chosen.x, state.chosen.y)
  for (const look of [["#fff", 5], [MARK, 2]]) stroked(pen, ...look, () => {
    path(pen, [[x - 10, y], [x + 10, y]])
    pen.moveTo(x, y - 10)
    pen.lineTo(x, y + 10)
    pen.stroke()
  })
}
const drawRegion = (viewer, pen) => {
  const { region } = viewer.state
  for (const ring of region?.rings ?? (region?.points ? [region.points] : [])) {
    trace(viewer, pen, ring, true)
    stroked(pen, MARK, 2, () => pen.stroke(), [6, 4])
  }
}

// ---- how large, and where ----
const drawScaleBar = ({ state, map, place }, pen) => {
  const unit = metresOf(place(), state.view)
  if (!unit) return
  const [a, b] = map.inside()
  const perPx = (sizeOf(state.view)[0] * unit) / a
  const metres = nice(perPx * 60)
  const wide = metres / perPx
  const [x, y] = [MARGIN.left + a - wide - 12, b - 12]
  pen.fillStyle = "rgba(255,255,255,.8)"
  pen.fillRect(x - 6, y - 18, wide + 12, 24)
  path(pen, [[x, y - 4], [x, y], [x + wide, y], [x + wide, y - 4]])
  stroked(pen, "#111", 2, () => pen.stroke())
  const words = metres >= 1000 ? `${(metres / 1000).toLocaleString("en")} km` : `${metres.toLocaleString("en")} m`
  Object.assign(pen, { fillStyle: "#111", font: FONT, textAlign: "center" })
  pen.fillText(words, x + wide / 2, y - 6)
}
const drawRows = ({ map, place }, pen) => { // names of a diagram's strips
  const [{ rows, bounds: [, s, , n] }, [, b]] = [place(), map.inside()]
  rows.forEach((name, i) => {
    const y = map.toScreen(0, n - (i / rows.length) * (n - s))[1] + 15
    if (y > 0 && y < b) badge(pen, MARGIN.left + 8, y, name, "left")
  })
}
const drawAxes = ({ state, map, place }, pen) => {
  const [[a, b], [w, s, e, n]] = [map.inside(), state.view]
  const unit = place().metres ? 1000 / place().metres : 1 // projected ground is told in km
  Object.assign(pen, { strokeStyle: "#777", lineWidth: 1, fillStyle: "#444", font: FONT })
  pen.strokeRect(MARGIN.left + 0.5, 0.5, a - 1, b - 1)
  const words = (v, step, letters) => (place().kind === "geographic"
    ? `${+Math.abs(v).toFixed(decimals(step))}° ${letters[Number(v < 0)]}`
    : (v / unit).toLocaleString("en", { maximumFractionDigits: decimals(step / unit) }))
  const ticks = (low, high, most) => {
    const step = nice((high - low) / unit / most) * unit
    const first = Math.ceil(low / step)
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => [(first + i) * step, step])
  }
  pen.textAlign = "center"
  for (const [v, step] of ticks(w, e, a / 90)) {
    const [x] = map.toScreen(v, n)
    if (x > MARGIN.left + 14 && x < map.size()[0] - 16) pen.fillText(words(v, step, "EW"), x, b + 14)
    path(pen, [[x, b], [x, b + 3]])
    pen.stroke()
  }
  pen.textAlign = "right"
  for (const [v, step] of place().along ? [] : ticks(s, n, b / 45)) {
    const [, y] = map.toScreen(w, v)
    if (y > 6 && y < b - 4) pen.fillText(words(v, step, "NS"), MARGIN.left - 5, y + 4)
    path(pen, [[MARGIN.left, y], [MARGIN.left - 3, y]])
    pen.stroke()
  }
  const named = place().along || (unit !== 1 && "km")
  if (named) {
    pen.textAlign = "left"
    pen.fillText(named, 2, b + 14)
  }
}
