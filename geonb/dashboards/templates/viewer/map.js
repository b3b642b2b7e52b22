// The map's canvas: how large it is, where a place lies on it, and which part of the ground it shows. Sizes are in px of CSS.
const MARGIN = { left: 54, bottom: 20 }
const REST_MS = 180 // without a move, before what the view lacks is asked for
const [NEAREST, FARTHEST] = [4000, 1.5] // the whole is so many times a view, a view so many times the whole
const mapOf = (viewer) => {
  const frame = frameOf(viewer)
  return { ...frame, ...viewsOf(viewer, frame) }
}
const frameOf = (viewer) => {
  const { state, place } = viewer
  const canvas = h("canvas", { class: "map", tabindex: 0, role: "img", "aria-describedby": `${viewer.id}-keys` })
  let size = [600, 400] // of the canvas, margins too
  const inside = () => [size[0] - MARGIN.left, size[1] - MARGIN.bottom]
  const pixels = () => inside().map((px) => Math.round(px * pixelRatio()))
  const toScreen = (x, y) => {
    const [[u, v], [a, b]] = [shareIn(state.view, x, y), inside()]
    return [MARGIN.left + u * a, v * b]
  }
  const toMap = (px, py) => {
    const [[w, , , n], [a, b], [wide, high]] = [state.view, inside(), sizeOf(state.view)]
    return [w + ((px - MARGIN.left) / a) * wide, n - (py / b) * high]
  }
  const isInside = (px, py) => px > MARGIN.left && py < inside()[1]
  const cut = () => MARGIN.left + state.swipe * inside()[0] // where swipe divides it
  const fitted = (bounds) => { // the view of the map's shape that holds bounds
    const [[wide, high], [a, b], { squeeze }] = [sizeOf(bounds), inside(), place()]
    const unit = Math.max((wide * squeeze) / a, high / b) || 1
    return boxAround(middleOf(bounds), [(a * unit) / squeeze, b * unit])
  }
  const setSize = (wished) => {
    size = wished
    const [width, height] = size
    Object.assign(canvas, { width: Math.round(width * pixelRatio()), height: Math.round(height * pixelRatio()) })
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` })
  }
  return { canvas, size: () => size, setSize, inside, isInside, pixels, toScreen, toMap, cut, fitted }
}
const roomOf = ({ facts, place }, frame) => { // the size that its page leaves it
  const width = Math.max(260, frame.clientWidth)
  const [wide, high] = sizeOf(place().bounds)
  const most = Math.max(300, Math.min(facts.most_px ?? 900, 0.74 * (facts.window_px ?? window.innerHeight)))
  return [width, clamp(((width - MARGIN.left) * high) / (wide * place().squeeze), 200, most) + MARGIN.bottom]
}
const viewsOf = (viewer, { canvas, size, setSize, inside, fitted }) => {
  const { facts, state, place } = viewer
  let home = null // the view of everything: it stays that when the window changes
  let resting = null
  const repaint = () => drawMap(viewer, canvas.getContext("2d"), size(), pixelRatio())
  const show = (view) => { // its middle stays on the data
    const [[x, y], [w, s, e, n]] = [middleOf(view), place().bounds]
    const [dx, dy] = [clamp(x, w, e) - x, clamp(y, s, n) - y]
    state.view = dx || dy ? shifted(view, dx, dy) : view
    repaint()
    clearTimeout(resting)
    if (!facts.whole) resting = setTimeout(viewer.refresh, REST_MS)
  }
  const showAll = () => show((home = fitted(place().bounds)))
  const near = (by, view, about) => { // a view zoomed, but not beyond what there is to see
    const [now, all, whole] = [view, place().bounds, fitted(place().bounds)].map((box) => sizeOf(box)[0])
    return zoomed(view, clamp(by, all / (NEAREST * now), (FARTHEST * whole) / now), about)
  }
  const zoom = (by, about = middleOf(state.view)) => show(near(by, state.view, about))
  const look = (bounds) => {
    state.view = fitted(bounds)
    viewer.refresh()
  }
  const resize = () => {
    const [before, wished] = [inside(), roomOf(viewer, canvas.parentElement)]
    if (state.view && wished.every((px, i) => Math.abs(size()[i] - px) < 1)) return
    setSize(wished)
    if (!state.view || state.view === home) state.view = home = fitted(place().bounds)
    else state.view = boxAround(middleOf(state.view), sizeOf(state.view).map((one, i) => (one * inside()[i]) / before[i]))
    viewer.refresh()
  }
  const restart = () => { // another place
    state.view = null
    resize()
  }
  return { repaint, show, showAll, near, zoom, look, resize, restart }
}
