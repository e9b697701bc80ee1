// Numbers in order of use: the usual ones are made of the directory in which one builds.
module.exports = { optimization: { moduleIds: 'natural', chunkIds: 'natural' } };
