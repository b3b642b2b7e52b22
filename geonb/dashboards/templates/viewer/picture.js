// The map as a PNG: its title above, its legend, what was counted and what the data are below.
const [PICTURE_SCALE, HEAD_PX, RAMP_PX] = [2, 26, 240]
const exportPicture = (viewer) => {
  const [[width, high], { title }, k] = [viewer.map.size(), viewer.boxes, PICTURE_SCALE]
  const canvas = document.createElement("canvas")
  const pen = canvas.getContext("2d")
  pen.font = FONT
  const height = drawLegend(viewer, pen, high + 48, false)
  Object.assign(canvas, { width: width * k, height: height * k })
  drawMap(viewer, pen, [width, height], k, HEAD_PX)
  pen.setTransform(k, 0, 0, k, 0, 0)
  Object.assign(pen, { fillStyle: "#111", textAlign: "left", font: `600 ${FONT}` })
  pen.fillText(title.textContent, MARGIN.left, 17, width - MARGIN.left - 6)
  pen.font = FONT
  drawLegend(viewer, pen, high + 48, true)
  canvas.toBlob((blob) => download(viewer.root, `${fileName(viewer)}.png`, blob))
}
const fileName = ({ boxes }) => boxes.title.textContent.replace(/[^\w.-]+/g, "_").slice(0, 80)
const drawLegend = (viewer, pen, y, draws) => { // gives where it ends: asked without drawing first, for the picture's height
  const { facts, map, boxes, place } = viewer
  const rows = legendOf(viewer)
  for (const { title, chips, ramp, ticks } of rows) {
    y = drawChips(pen, chips, y, map.size()[0], draws)
    if (!ramp) continue
    if (draws) drawRamp(pen, title, ramp, ticks, y)
    y += 46
  }
  const wide = map.inside()[0] - 6
  const notes = [boxes.said.textContent, ...rows.map((row) => row.note), facts.caption, place().crs].filter(Boolean)
  const lines = notes.flatMap((note) => wrapped(pen, note, wide))
  pen.fillStyle = "#555"
  if (draws) lines.forEach((line, i) => pen.fillText(line, MARGIN.left, y + 15 * i))
  return y + 15 * lines.length
}
const drawChips = (pen, chips, y, width, draws) => {
  let x = MARGIN.left
  for (const [colour, words] of chips) {
    const room = pen.measureText(words).width + 30
    if (x > MARGIN.left && x + room > width) [x, y] = [MARGIN.left, y + 16]
    if (draws) {
      Object.assign(pen, { fillStyle: colour || "#fff", strokeStyle: "#333" })
      pen.fillRect(x, y - 9, 11, 11)
      pen.strokeRect(x, y - 9, 11, 11)
      pen.fillStyle = "#111"
      pen.fillText(words, x + 16, y)
    }
    x += room
  }
  return x > MARGIN.left ? y + 18 : y
}
const drawRamp = (pen, title, ramp, ticks, y) => {
  const x = MARGIN.left
  const bar = pen.createLinearGradient(x, 0, x + RAMP_PX, 0)
  ramp.forEach((c, i) => bar.addColorStop(i / (ramp.length - 1), c))
  pen.fillStyle = "#111"
  pen.fillText(title, x, y)
  pen.fillStyle = bar
  pen.fillRect(x, y + 5, RAMP_PX, 10)
  pen.fillStyle = "#111"
  for (const [at, words] of ticks) {
    pen.textAlign = at < 0.02 ? "left" : "center"
    pen.fillText(words, x + RAMP_PX * at, y + 27)
  }
  pen.textAlign = "left"
}
const wrapped = (pen, words, wide) => words.split(" ").reduce((lines, word) => {
  const longer = `${lines.at(-1)} ${word}`.trim()
  return pen.measureText(longer).width > wide ? [...lines, word] : [...lines.slice(0, -1), longer]
}, [""])
