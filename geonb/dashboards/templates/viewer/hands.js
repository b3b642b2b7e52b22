// Pointer, wheel and keys on the map.
const ZOOM_STEP = 1.6
const STILL_PX = 4 // a pointer that moved less was a click
const GRIP_PX = 8 // beside the divider
const DOUBLE_MS = 300 // a click waits so long: it may become a double one, which moves no mark
const handsOf = (viewer) => {
  const { canvas } = viewer.map
  pointersOf(viewer, canvas)
  canvas.addEventListener("wheel", (event) => { // a page that is scrolled past the map is not trapped
    const focused = [document.activeElement, viewer.root.getRootNode().activeElement].includes(canvas)
    if (!focused && !event.ctrlKey && !event.metaKey) {
      viewer.boxes.under.textContent = "Zoom: Ctrl + wheel, or click the map first."
      return
    }
    event.preventDefault()
    viewer.map.zoom(Math.exp(clamp(event.deltaY, -300, 300) / 500), viewer.map.toMap(...pointAt(viewer, event)))
  }, { passive: false })
  canvas.addEventListener("keydown", (event) => {
    const act = keyOf(viewer, event)
    if (!act) return
    act()
    event.preventDefault()
    event.stopPropagation()
  })
}
const pointAt = ({ map }, event) => { // px of the canvas
  const [box, [wide, high]] = [map.canvas.getBoundingClientRect(), map.size()]
  return [((event.clientX - box.left) / box.width) * wide, ((event.clientY - box.top) / box.height) * high]
}
const pointersOf = (viewer, canvas) => {
  const { map } = viewer
  const fingers = new Map() // where each pointer is that is down
  let drag = null // what they do
  let click = null
  canvas.addEventListener("pointerdown", (event) => {
    clearTimeout(click)
    fingers.set(event.pointerId, pointAt(viewer, event))
    canvas.setPointerCapture(event.pointerId)
    drag = fingers.size > 1 ? pinchOf(viewer, fingers) : dragOf(viewer, pointAt(viewer, event), event.shiftKey)
  })
  canvas.addEventListener("pointermove", (event) => {
    const here = pointAt(viewer, event)
    if (!fingers.has(event.pointerId)) return hover(viewer, ...here)
    fingers.set(event.pointerId, here)
    if (!drag) return
    drag.moved ||= Math.hypot(here[0] - drag.from[0], here[1] - drag.from[1]) > STILL_PX
    if (drag.moved) drag.move(...here)
  })
  const lift = (event) => { // what was done ends with the first finger that leaves
    const was = drag
    fingers.delete(event.pointerId)
    drag = null
    return was
  }
  canvas.addEventListener("pointerup", (event) => {
    const [was, here] = [lift(event), pointAt(viewer, event)]
    if (was?.moved) was.end?.()
    else if (was && map.isInside(...here)) click = setTimeout(viewer.choose, DOUBLE_MS, ...map.toMap(...here))
  })
  canvas.addEventListener("pointercancel", lift)
  canvas.addEventListener("dblclick", () => {
    clearTimeout(click)
    map.showAll()
  })
  // one finger up or down scrolls the page (touch-action: pan-y); two are the map's
  const keep = (event) => { if (event.touches.length > 1) event.preventDefault() }
  for (const kind of ["touchstart", "touchmove"]) canvas.addEventListener(kind, keep, { passive: false })
}

// ---- dragging: { from, moved, move(px, py), end() } ----
const dragOf = (viewer, from, free) => {
  const { state, map } = viewer
  const start = { from, moved: false }
  if (state.compare === "swipe" && Math.abs(from[0] - map.cut()) < GRIP_PX) return { ...start, move: (px) => swipeTo(viewer, px) }
  if (viewer.drawing.on) return { ...start, ...outlining(viewer, from, free) }
  const view = state.view
  const move = (px, py) => {
    const [[wide, high], [a, b]] = [sizeOf(view), map.inside()]
    map.show(shifted(view, ((from[0] - px) / a) * wide, ((py - from[1]) / b) * high))
  }
  return { ...start, move }
}
const pinchOf = ({ state, map }, fingers) => { // what lay between two fingers stays between them
  const between = () => {
    const [[x0, y0], [x1, y1]] = fingers.values()
    return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, apart: Math.max(1, Math.hypot(x1 - x0, y1 - y0)) }
  }
  const [start, view, [a, b]] = [between(), state.view, map.inside()]
  const about = map.toMap(start.x, start.y)
  const move = () => {
    const { x, y, apart } = between()
    const near = map.near(start.apart / apart, view, about)
    const [wide, high] = sizeOf(near)
    map.show(shifted(near, ((start.x - x) / a) * wide, ((y - start.y) / b) * high))
  }
  return { from: [], moved: true, move }
}
const swipeTo = ({ state, map, controls }, px) => {
  state.swipe = clamp((px - MARGIN.left) / map.inside()[0], 0, 1)
  controls.inputs.swipe.value = state.swipe
  map.repaint()
}
const outlining = (viewer, from, free) => { // a rectangle, or any outline
  const { state, map, regions, drawing } = viewer
  const points = [map.toMap(...from)]
  const move = (px, py) => {
    points.push(map.toMap(px, py))
    state.region = { points: free ? points : corners(boundsOf([points[0], points.at(-1)])) }
    map.repaint()
  }
  const end = () => {
    drawing.set(false)
    regions.choose(state.region)
  }
  return { move, end }
}

// ---- keys ----
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }
const keyOf = (viewer, { key, shiftKey }) => { // what a key does, if anything
  const { state, map } = viewer
  const [[wide, high], middle] = [sizeOf(state.view), middleOf(state.view)]
  const now = state.chosen ? [state.chosen.x, state.chosen.y] : middle
  const [dx, dy] = ARROWS[key] ?? []
  if (dx !== undefined && shiftKey) return () => map.show(shifted(state.view, dx * wide * 0.2, dy * high * 0.2))
  if (dx !== undefined) {
    const [across, up] = cellSize(viewer.clickGrid()) // from afar, a step that is seen
    return () => viewer.choose(now[0] + dx * Math.max(across, wide / 60), now[1] + dy * Math.max(up, high / 60))
  }
  const zoom = (by) => () => map.zoom(by)
  return {
    Enter: () => viewer.choose(...now), "+": zoom(1 / ZOOM_STEP), "=": zoom(1 / ZOOM_STEP), "-": zoom(ZOOM_STEP),
    0: map.showAll, Escape: () => map.canvas.blur(),
  }[key]
}

// ---- what the pointer is over ----
const hover = (viewer, px, py) => {
  const { facts, state, map, drawn, boxes } = viewer
  const plane = state.compare === "swipe" && px > map.cut() ? drawn?.other : drawn?.top ?? drawn?.below
  if (!plane || !map.isInside(px, py)) {
    boxes.under.textContent = ""
    return
  }
  const [x, y] = map.toMap(px, py)
  const words = [placeWords(viewer.place(), x, y, 2)]
  const i = plane.codes ? indexAt(plane, x, y) : -1
  if (i >= 0) {
    const group = drawn.groups ? `, ${viewer.layer(facts.groups).labels[drawn.groups.codes[i]] ?? ""}` : ""
    const title = plane.layer.difference ? "difference" : plane.layer.title
    words.push(`${title}: ${figure(valueOf(plane, plane.codes[i]), plane.layer)}${group}`)
  }
  boxes.under.textContent = words.filter(Boolean).join(" · ")
}
