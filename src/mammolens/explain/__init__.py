"""Where a score comes from: evidence, heat map, regions, and the picture that shows them.

=================  ============================================================
`gradcam`          evidence of the last features, and the heat map made of it
`methods`          every explanation method, by name; `occlusion` is one of them
`passes`           what of a picture's way through the network they are made of
`regions`          peaks of the heat map as boxes in source pixels
`source`           the heat map put back on source pixels
`colours`          perceptually ordered colour maps
`overlay`          the picture a reader sees, and the files written beside an answer
`faithfulness`     whether the score really falls where the map says it comes from, and rises with it
=================  ============================================================
"""
